"""Agreement with Shapley values: by hand, against scipy, and found once for all explainers."""

from __future__ import annotations

import pytest
import torch
from explain.toys import contributions, random_toy
from judging import case
from scipy import stats

from xrec.explain.probe import probe
from xrec_plugins.metrics.shapley_agreement import ShapleyAgreement


def test_the_exact_values_agree_with_themselves() -> None:
    model, inputs = random_toy(rows=5, slots=7, seed=0)
    found = ShapleyAgreement().measure(case(model, inputs, contributions(model, inputs)))
    assert torch.allclose(found["shapley_rank"], torch.ones(5).double())
    assert found["shapley_error"].max() < 1e-9


def test_against_scipy_and_by_hand() -> None:
    model, inputs = random_toy(rows=5, slots=7, seed=0)
    values = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)).double()
    found = ShapleyAgreement().measure(case(model, inputs, values))
    exact = contributions(model, inputs).detach()
    for row in range(5):
        there = inputs.players[row]
        told, truth = values[row, there], exact[row, there]
        rank = stats.spearmanr(told, truth).statistic
        assert float(found["shapley_rank"][row]) == pytest.approx(rank)
        error = (told - truth).norm() / truth.norm()
        assert float(found["shapley_error"][row]) == pytest.approx(float(error))


def test_rows_that_cannot_be_ranked() -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=0, fixed=(0,))
    present = inputs.present.clone()
    present[0] = inputs.features.fixed[0]  # no player
    present[1] = inputs.features.fixed[1]
    present[1, 2] = True  # one
    few = inputs.with_present(present)
    exact = contributions(model, few)
    found = ShapleyAgreement().measure(case(model, few, exact))
    assert found["shapley_rank"].isnan().tolist() == [True, True, False]
    assert found["shapley_error"].isnan().tolist() == [True, False, False]
    flat = ShapleyAgreement().measure(case(model, few, torch.ones_like(exact)))
    assert flat["shapley_rank"].isnan().all()


def test_many_features_are_estimated_well_enough() -> None:
    model, inputs = random_toy(rows=2, slots=30, seed=0)
    assert inputs.players.sum(1).min() > 12
    found = ShapleyAgreement().measure(case(model, inputs, contributions(model, inputs)))
    assert found["shapley_error"].max() < 1e-6  # pairs are found exactly


def test_found_once_for_all_explainers_of_the_same_inputs() -> None:
    model, inputs = random_toy(rows=3, slots=6, seed=0)
    exact, metric = contributions(model, inputs), ShapleyAgreement()

    def asked(*given: object, **how: object) -> int:
        one = case(*given, **how)
        with probe(model) as cost:
            metric.measure(one)
        return cost.forward

    assert asked(model, inputs, exact) > 0
    assert asked(model, inputs, exact * 2) == 0
    again = inputs.with_values(inputs.values.clone())  # embedded anew, and the same
    assert asked(model, again, exact) == 0
    assert asked(model, inputs, exact, absent="baseline") > 0
    assert asked(model, inputs.with_values(inputs.values * 2), exact) > 0
    assert asked(model, inputs, exact) > 0  # the last is kept, not all
    with torch.no_grad():
        model.weight += 1  # in place, as training does
    assert asked(model, inputs, exact) > 0
    changed = ShapleyAgreement().measure(case(model, inputs, contributions(model, inputs)))
    assert changed["shapley_error"].max() < 1e-9


def test_there_are_no_values_where_others_stand_in() -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=0)
    whole = case(model, inputs, contributions(model, inputs), absent="resample")
    assert ShapleyAgreement().measure(whole) == {}
