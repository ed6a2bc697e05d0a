"""KernelSHAP against Shapley values by enumeration, and the properties that define them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from explain.toys import Additive, Pairwise, contributions, exact_shapley, random_toy, toy_inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.explain.explanation import Explanation
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec_plugins.explainers.kernel_shap import KernelShap

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)
ALL = 2**10  # as many coalitions as the largest game here has


class Bent(Additive):
    """An additive model's score, bent so that any number of slots interact."""

    def score(self, inputs: Inputs) -> Tensor:
        return super().score(inputs).sin()


def explained(model: Recommender, inputs: Inputs, **options: object) -> Explanation:
    return KernelShap(**{"evaluations": ALL, **options}).explain(model, inputs, logit)


@pytest.mark.parametrize("pairs", [False, True])
def test_the_closed_form_is_that_of_enumeration(pairs: bool) -> None:
    model, inputs = random_toy(rows=3, slots=8, seed=0, pairs=pairs, fixed=(1, 4))
    for absent in ("remove", "baseline"):
        exact = exact_shapley(model, inputs, absent)
        assert torch.allclose(exact, contributions(model, inputs), atol=1e-9)


@given(slots=st.integers(1, 8), seed=st.integers(0, 999), pairs=st.booleans())
@QUICK
def test_toys_in_closed_form(slots: int, seed: int, pairs: bool) -> None:
    model, inputs = random_toy(2, slots, seed, pairs)
    assert torch.allclose(
        explained(model, inputs).values, contributions(model, inputs), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("absent", ["remove", "baseline"])
def test_a_transformer_by_enumeration(absent: str) -> None:
    model, inputs = small_model(history=3, users=3)
    inputs = inputs.with_values(inputs.values * 2)
    exact = exact_shapley(model, inputs, absent).float()
    told = explained(model, inputs, absent=absent)
    assert torch.allclose(told.values, exact, atol=1e-4, rtol=0)
    assert exact.abs().max() > 0.1  # there was something to find
    other = exact_shapley(model, inputs, {"remove": "baseline", "baseline": "remove"}[absent])
    assert not torch.allclose(exact, other.float(), atol=1e-2)


def test_as_many_evaluations_as_coalitions_are_enough() -> None:
    model, inputs = random_toy(rows=1, slots=7, seed=5, fixed=())
    n = int(inputs.players.sum())
    told = explained(model, inputs, evaluations=2**n)
    assert torch.allclose(told.values, contributions(model, inputs), atol=1e-4, rtol=0)


@given(slots=st.integers(2, 12), seed=st.integers(0, 999), evaluations=st.integers(2, 300))
@QUICK
@pytest.mark.filterwarnings("ignore:Linear regression equation is singular")
def test_complete_whatever_the_number_of_evaluations(slots, seed, evaluations) -> None:
    model, inputs = random_toy(2, slots, seed)
    told = explained(model, inputs, evaluations=evaluations)
    assert torch.allclose(told.values.sum(1), told.score - told.base, atol=1e-6)
    # A gap that is 0 by construction says nothing of sampling: then no error is claimed.
    sampled = inputs.players.sum(1) > math.log2(evaluations + 2)
    assert told.error.isnan().equal(sampled)
    assert not (told.error > 1e-6).any()


@given(slots=st.integers(3, 7), seed=st.integers(0, 999), data=st.data())
@QUICK
def test_a_dummy_gets_nothing(slots: int, seed: int, data) -> None:
    model, inputs = random_toy(2, slots, seed)
    assert isinstance(model, Pairwise)
    dummy = data.draw(st.integers(1, slots - 1))
    model.weight.data[dummy] = 0
    told = explained(model, inputs)
    assert told.values[:, dummy].abs().max() < 1e-6


@given(slots=st.integers(3, 7), seed=st.integers(0, 999), data=st.data())
@QUICK
def test_twins_get_the_same(slots: int, seed: int, data) -> None:
    model, inputs = random_toy(2, slots, seed, fixed=())
    assert isinstance(model, Pairwise)
    one, two = data.draw(st.permutations(range(slots)))[:2]
    model.weight.data[two] = model.weight.data[one]
    model.pairs.data[two], model.pairs.data[:, two] = model.pairs[one], model.pairs[:, one]
    model.pairs.data[[one, two], [two, one]] = 0.7
    model.pairs.data[[one, two], [one, two]] = 0
    inputs.values[:, two], inputs.present[:, two] = inputs.values[:, one], inputs.present[:, one]
    told = explained(model, inputs)
    assert torch.allclose(told.values[:, one], told.values[:, two], atol=1e-6)


@given(slots=st.integers(2, 7), seed=st.integers(0, 999), data=st.data())
@QUICK
def test_the_order_of_the_slots_does_not_matter(slots: int, seed: int, data) -> None:
    model, inputs = random_toy(2, slots, seed, fixed=())
    assert isinstance(model, Pairwise)
    order = torch.tensor(data.draw(st.permutations(range(slots))))
    moved = Pairwise(model.weight.data[order], model.pairs.data[order][:, order])
    told = explained(model, inputs)
    again = explained(moved, toy_inputs(inputs.values[:, order], inputs.present[:, order]))
    assert torch.allclose(again.values, told.values[:, order], atol=1e-6)


@given(seed=st.integers(0, 999), a=st.floats(-3, 3), b=st.floats(-3, 3))
@QUICK
def test_games_add_up(seed: int, a: float, b: float) -> None:
    model, inputs = random_toy(2, 6, seed)
    explain = KernelShap(ALL).explain
    one = explain(model, inputs, logit).values
    two = explain(model, inputs, lambda m, i: m.score(i).square()).values
    both = explain(model, inputs, lambda m, i: a * m.score(i) + b * m.score(i).square()).values
    assert torch.allclose(both, a * one + b * two, atol=1e-6 * float(1 + two.abs().max()))


def test_sampling_comes_closer_with_more_evaluations() -> None:
    # Not a game of pairs: from coalitions drawn with their complements those are found exactly.
    toy, inputs = random_toy(rows=4, slots=10, seed=2)
    model = Bent(toy.weight.data)
    exact = exact_shapley(model, inputs)
    error = [
        float((explained(model, inputs, evaluations=count).values - exact).abs().mean())
        for count in (24, 80, 250, ALL)
    ]
    assert error == sorted(error, reverse=True)
    assert error[-1] < 1e-6 < error[-2] < error[0] / 3


def test_an_operator_that_needs_other_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="absent is 'resample', not remove or baseline"):
        KernelShap(absent="resample")


def test_sampling_follows_the_seed_alone() -> None:
    model, inputs = random_toy(rows=2, slots=16, seed=0)
    np.random.seed(1)
    one = explained(model, inputs, evaluations=50, seed=3)
    np.random.seed(2)
    again = explained(model, inputs, evaluations=50, seed=3)
    other = explained(model, inputs, evaluations=50, seed=4)
    assert torch.equal(one.values, again.values)
    assert not torch.allclose(one.values, other.values)


def test_numpys_generator_is_put_back_even_after_an_error() -> None:
    model, inputs = random_toy(rows=1, slots=6, seed=0)
    calls = []

    def failing(model: Recommender, inputs: Inputs):
        calls.append(len(inputs))
        if len(calls) > 3:
            raise RuntimeError("a target that fails")
        return model.score(inputs)

    np.random.seed(5)
    expected = np.random.get_state()[1].copy()
    with pytest.raises(RuntimeError, match="a target that fails"):
        KernelShap().explain(model, inputs, failing)
    assert np.array_equal(np.random.get_state()[1], expected)


@pytest.mark.parametrize("evaluations", [20, 100, ALL])
def test_costs_no_more_than_it_was_given(evaluations: int) -> None:
    model, inputs = random_toy(rows=3, slots=9, seed=0)
    cost = explained(model, inputs, evaluations=evaluations).cost
    players = inputs.players.sum(1)
    most = torch.minimum(2**players, torch.tensor(evaluations + 2))
    assert cost.forward <= int((most + 2).sum())  # everything and nothing are asked once more
    assert cost.backward == 0


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="evaluations is 1"):
        KernelShap(evaluations=1)
    with pytest.raises(ValueError, match="absent is 'zero'"):
        KernelShap(absent="zero")
