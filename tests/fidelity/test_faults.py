"""Faults: each keeps the contract, and is wrong in the way it says and in no other."""

from __future__ import annotations

import copy

import pytest
import torch
from explain.toys import exact_shapley, masked_score, random_toy

from xrec.explain.explainer import Explainer
from xrec.explain.target import logit
from xrec.fidelity.faults import FAULTS, Leaking, faulty, redrawn
from xrec.fidelity.metric import Case
from xrec.fidelity.retelling import Retelling, reseeded
from xrec.testing import check_explainer, small_model
from xrec_plugins.explainers.exact_shapley import ExactShapley
from xrec_plugins.explainers.kernel_shap import KernelShap
from xrec_plugins.explainers.random import Random
from xrec_plugins.explainers.recency import Recency
from xrec_plugins.metrics.deletion import Deletion

SOUND = KernelShap(evaluations=64)
ADDING_UP = ("shuffled", "constant", "leaking")


def said(explainer: Explainer, seed: int = 0, rows: int = 4) -> torch.Tensor:
    model, inputs = random_toy(rows, slots=7, seed=seed)
    return explainer.explain(model, inputs, logit).values


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "jittery"])
def test_the_contract_is_kept(name: str) -> None:
    model, inputs = small_model()
    fault = faulty(name, SOUND)
    check_explainer(fault, model, inputs)
    assert fault.explain(model, inputs, logit).explainer == name
    check_explainer(fault, model, inputs.rows(slice(0, 1)))


def test_jitter_breaks_the_contract_in_its_last_word_alone() -> None:
    model, inputs = small_model()
    with pytest.raises(AssertionError, match="asked twice, it says two things"):
        check_explainer(faulty("jittery", SOUND), model, inputs)


@pytest.mark.parametrize("name", FAULTS)
def test_a_row_without_features_gets_nothing(name: str) -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=0)
    present = inputs.present.clone()
    present[1] = inputs.features.fixed[1]
    told = faulty(name, ExactShapley()).explain(model, inputs.with_present(present), logit)
    assert not told.values[1].any()
    assert told.values.isfinite().all()


@pytest.mark.parametrize("name", FAULTS)
def test_what_adds_up(name: str) -> None:
    model, inputs = random_toy(rows=6, slots=6, seed=1)
    told = faulty(name, ExactShapley()).explain(model, inputs, logit)
    gap = (told.values.sum(1) - (told.score - told.base)).abs().max()
    assert (gap < 1e-9) == (name in ADDING_UP)


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ("jittery", "deaf")])
def test_a_row_is_explained_alone_as_among_others(name: str) -> None:
    model, inputs = random_toy(rows=5, slots=6, seed=2)
    fault = faulty(name, ExactShapley())
    whole = fault.explain(model, inputs, logit).values
    alone = fault.explain(model, inputs.rows(slice(3, 4)), logit).values
    assert torch.allclose(alone[0], whole[3])


def test_shuffled_gives_the_same_values_to_other_features() -> None:
    exact, found = said(ExactShapley()), said(faulty("shuffled", ExactShapley()))
    assert torch.allclose(found.sort(dim=1).values, exact.sort(dim=1).values)
    assert ((found - exact).abs().sum(1) > 0.1).all()


def test_constant_says_the_same_of_all() -> None:
    _, inputs = random_toy(rows=4, slots=7, seed=0)
    for row, mine in zip(said(faulty("constant", ExactShapley())), inputs.players, strict=True):
        assert row[mine].unique().numel() == 1


def test_flipped_and_scaled() -> None:
    exact = said(ExactShapley())
    assert torch.equal(said(faulty("flipped", ExactShapley())), -exact)
    assert torch.equal(said(faulty("scaled", ExactShapley())), 3 * exact)


@pytest.mark.parametrize("seed", range(5))
def test_leaking_is_greedy(seed: int) -> None:
    model, inputs = random_toy(rows=3, slots=6, seed=seed)
    told = faulty("leaking", ExactShapley()).explain(model, inputs, logit).values
    for row in range(3):
        left = set(inputs.players[row].nonzero()[:, 0].tolist())
        order = sorted(left, key=lambda slot, row=row: -float(told[row, slot]))
        for gone in order:
            values = {slot: masked_score(model, inputs, row, left - {slot}) for slot in left}
            assert values[gone] == pytest.approx(min(values.values()), abs=1e-9)
            left.remove(gone)


def test_leaking_deletes_better_than_the_truth() -> None:
    model, inputs = random_toy(rows=40, slots=7, seed=3)
    areas = {}
    for name, explainer in {
        "exact": ExactShapley(),
        "leaking": faulty("leaking", ExactShapley()),
    }.items():
        told = explainer.explain(model, inputs, logit)
        case = Case(model, inputs, logit, told, points=6)
        areas[name] = Deletion().measure(case)["deletion"]
    assert areas["leaking"].mean() < areas["exact"].mean()
    assert (areas["leaking"] <= areas["exact"] + 1e-9).float().mean() > 0.9


def test_leaking_within_its_bound() -> None:
    # One step finds what each removal does alone, and orders all by that.
    model, inputs = random_toy(rows=4, slots=7, seed=0)
    told = Leaking(ExactShapley(), greedy=1).explain(model, inputs, logit)
    for row in range(4):
        left = set(inputs.players[row].nonzero()[:, 0].tolist())
        alone = {slot: masked_score(model, inputs, row, left - {slot}) for slot in left}
        order = sorted(left, key=lambda slot, row=row: -float(told.values[row, slot]))
        assert order == sorted(left, key=alone.__getitem__)
    assert told.cost.forward <= 4 * (7 + 2)


def test_leaking_tells_nothing_of_the_item() -> None:
    model, inputs = small_model()
    case = Case(model, inputs, logit, SOUND.explain(model, inputs, logit))
    told = faulty("leaking", SOUND).explain(model, inputs, logit).values
    assert not told[inputs.players & ~case.of_user].any()
    assert (told[case.of_user] != 0).float().mean() > 0.5


def test_stale_is_sound_of_another_model() -> None:
    model, inputs = random_toy(rows=4, slots=7, seed=0)
    told = faulty("stale", ExactShapley()).explain(model, inputs, logit)
    other = redrawn(model)
    assert torch.allclose(told.values, exact_shapley(other, inputs))
    assert not torch.allclose(told.values, exact_shapley(model, inputs), atol=0.1)
    assert torch.equal(told.score, model.score(inputs).detach())
    for weights, drawn in zip(model.parameters(), other.parameters(), strict=True):
        assert weights.shape == drawn.shape
        spread = [float(each.detach().std(correction=0)) for each in (weights, drawn)]
        assert spread[1] == pytest.approx(spread[0], rel=0.6)


def test_jitter_differs_by_call_and_by_seed() -> None:
    model, inputs = random_toy(rows=4, slots=7, seed=0)
    fault = faulty("jittery", ExactShapley())
    first, second = (fault.explain(model, inputs, logit).values for _ in range(2))
    assert not torch.allclose(first, second)
    assert torch.equal(said(faulty("jittery", ExactShapley())), first)  # from its first call on
    other = reseeded(faulty("jittery", ExactShapley()), 1).explain(model, inputs, logit).values
    assert not torch.allclose(other, first)
    exact = said(ExactShapley())
    noise = (first - exact)[inputs.players].square().mean().sqrt()
    assert noise > 2 * exact[inputs.players].square().mean().sqrt()


def test_the_deaf_do_not_hear_of_the_weights() -> None:
    model, inputs = random_toy(rows=4, slots=7, seed=0)
    fault, other = faulty("deaf", ExactShapley()), copy.deepcopy(model)
    other.weight.data.mul_(-2)
    before = fault.explain(model, inputs, logit)
    after = fault.explain(other, inputs, logit)
    assert torch.equal(before.values, after.values)
    assert not torch.allclose(before.score, after.score)
    moved = inputs.with_values(inputs.values + 1)
    assert not torch.allclose(fault.explain(model, moved, logit).values, before.values)


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "jittery"])
def test_a_fault_draws_by_a_seed_as_the_sound_one_does(name: str) -> None:
    assert not Retelling(faulty(name, Recency())).draws
    first = Retelling(faulty(name, Random(seed=3)))
    assert first.draws
    found, other = said(first.explainer), said(first.seeded(4).explainer)
    whole = said(faulty(name, Random(seed=4)))
    assert torch.equal(other, whole)
    assert first.explainer.seed == 3  # type: ignore[attr-defined]
    assert torch.equal(found, other) == (name in ("leaking", "deaf"))  # which ask nothing of it


def test_a_fault_that_there_is_none_of() -> None:
    with pytest.raises(ValueError, match="no fault 'shufled': did you mean 'shuffled'"):
        faulty("shufled", SOUND)
