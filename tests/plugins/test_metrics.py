"""Fidelity metrics: what all keep to, and deletion, insertion and completeness by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explain.toys import Pairwise, contributions, listed, masked_score, ones, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import case, owned

from xrec.data.features import ITEM
from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.explain.target import logit
from xrec.fidelity.ledger import Ledger
from xrec.fidelity.metric import Case, plays, retells, sees
from xrec.fidelity.retelling import Retelling
from xrec.models.inputs import Inputs
from xrec.plugins import factory, listings
from xrec.testing import small_model
from xrec_plugins.metrics.completeness import Completeness
from xrec_plugins.metrics.deletion import Deletion
from xrec_plugins.metrics.insertion import Insertion

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=40)
NAMES = [listing.name for listing in listings("metric") if listing.package == "xrec"]


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_gives_a_number_a_row_for_what_it_measures(name: str) -> None:
    model, inputs = small_model(users=5)
    explainer = factory("explainer", "leave_one_out")()
    values = explainer.explain(model, inputs, logit).values
    metric = factory("metric", name)()
    known = case(model, inputs, values, truth=values.clone(), retelling=Retelling(explainer))
    found = metric.measure(known)
    assert set(found) == set(metric.measures)
    assert set(metric.measures.values()) <= {"higher", "lower"}
    assert all(values.shape == (5,) for values in found.values())
    unknown = case(model, inputs.against(None), values)  # neither truth, nor rivals, nor explainer
    assert metric.measure(unknown).keys() <= set(metric.measures)
    if retells(metric):
        assert not metric.measure(unknown)


@pytest.mark.parametrize("name", NAMES)
def test_no_measure_claims_to_see_a_fault_under_another_name(name: str) -> None:
    metric = factory("metric", name)()
    assert set(sees(metric)) <= set(metric.measures)
    assert all(faults and not isinstance(faults, str) for faults in sees(metric).values())


@pytest.mark.parametrize("name", [name for name in NAMES if plays(factory("metric", name)())])
def test_what_was_found_for_one_explanation_serves_another_of_the_same_order(name: str) -> None:
    model, inputs = small_model(users=5)
    values = torch.randn(inputs.present.shape, generator=torch.Generator().manual_seed(0))
    metric, ledger = factory("metric", name)(), Ledger(model, inputs)
    first = case(model, inputs, values, ledger=ledger)
    again = case(model, inputs, 3 * values, ledger=ledger)  # of other sizes
    alone = case(model, inputs, 3 * values)
    metric.measure(first)
    before = ledger.evaluations
    assert before > 0
    found = metric.measure(again)
    assert ledger.evaluations == before
    for measure, expected in metric.measure(alone).items():
        assert torch.equal(found[measure].nan_to_num(-9), expected.nan_to_num(-9))


@pytest.mark.parametrize("name", ["deletion", "insertion", "comprehensiveness", "sufficiency"])
def test_rows_without_features_of_the_user_are_not_judged(name: str) -> None:
    inputs = owned(listed([[3, 1, 2], [3, 1, 2]]), [2])
    inputs = inputs.with_present(torch.tensor([[False, False, True], [True, False, True]]))
    told = case(ones(3), inputs, inputs.values[..., 0])
    user, every = factory("metric", name)(), factory("metric", name)(of="all")
    assert user.measure(told)[name].isnan().tolist() == [True, False]
    assert every.measure(told)[name].isnan().tolist() == [False, False]
    nothing = case(ones(3), inputs.with_present(torch.zeros(2, 3).bool()), torch.zeros(2, 3))
    assert every.measure(nothing)[name].isnan().all()


@pytest.mark.parametrize("name", ["deletion", "insertion", "comprehensiveness", "sufficiency"])
def test_whose_features_are_moved_must_be_known(name: str) -> None:
    with pytest.raises(ValueError, match="of is 'users'"):
        factory("metric", name)(of="users")


def test_deletion_and_insertion_by_hand() -> None:
    # Slots say 3, 1, -2, 0.5; see the curves in tests/fidelity/test_curve.py.
    inputs = listed([[3, 1, -2, 0.5]])
    whole = case(ones(4), inputs, inputs.values[..., 0], points=4)
    assert Deletion().measure(whole)["deletion"].tolist() == [-2.75 / 4]
    assert Insertion().measure(whole)["insertion"].tolist() == [12.75 / 4]


def test_a_bias_and_fixed_slots_shift_nothing() -> None:
    # Logits above the base: what is there in any case is no merit of an explanation.
    model, inputs = random_toy(rows=4, slots=6, seed=0, pairs=False)
    values = contributions(model, inputs)
    before = [m.measure(case(model, inputs, values)) for m in (Deletion(), Insertion())]
    model.bias.data += 7
    after = [m.measure(case(model, inputs, values)) for m in (Deletion(), Insertion())]
    for one, two in zip(before, after, strict=True):
        for name in one:
            assert torch.allclose(one[name], two[name])


@pytest.mark.parametrize("absent", ["remove", "baseline"])
def test_deletion_and_insertion_against_a_loop(absent: str) -> None:
    model, inputs = random_toy(rows=3, slots=7, seed=4)
    values = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)).double()
    whole = case(model, inputs, values, absent=absent, points=5)
    found = {**Deletion().measure(whole), **Insertion().measure(whole)}
    for row in range(3):
        players = inputs.players[row].nonzero()[:, 0].tolist()
        ranked = sorted(players, key=lambda slot: -values[row, slot])
        base = masked_score(model, inputs, row, (), absent)
        for name in ("deletion", "insertion"):
            heights = []
            for step in range(6):
                first = set(ranked[: round(step * len(players) / 5)])
                inside = first if name == "insertion" else set(players) - first
                heights.append(masked_score(model, inputs, row, inside, absent) - base)
            assert float(found[name][row]) == pytest.approx(np.trapezoid(heights) / 5, abs=1e-9)


@given(
    said=st.lists(st.integers(-20, 20), min_size=1, max_size=6),
    data=st.data(),
    points=st.integers(1, 8),
)
@QUICK
def test_no_explanation_of_an_additive_model_beats_the_exact_one(said, data, points) -> None:
    inputs, model = listed([said]), ones(len(said))
    other = data.draw(st.lists(st.floats(-9, 9), min_size=len(said), max_size=len(said)))
    best = case(model, inputs, inputs.values[..., 0], points=points)
    rival = case(model, inputs, torch.tensor([other]).double(), points=points)
    assert Deletion().measure(best)["deletion"] <= Deletion().measure(rival)["deletion"] + 1e-9
    assert Insertion().measure(best)["insertion"] >= Insertion().measure(rival)["insertion"] - 1e-9


@given(
    said=st.lists(st.integers(-20, 20), min_size=2, max_size=6),
    data=st.data(),
    points=st.integers(1, 8),
    of=st.sampled_from(["user", "all"]),
)
@QUICK
def test_what_deletion_has_not_lost_insertion_has_not_won(said, data, points, of) -> None:
    # In an additive model the two curves mirror each other, whatever the order of the features.
    own = data.draw(st.sets(st.integers(0, len(said) - 1), max_size=len(said) - 1))
    inputs = owned(listed([said]), own)
    values = data.draw(st.lists(st.floats(-9, 9), min_size=len(said), max_size=len(said)))
    told = case(ones(len(said)), inputs, torch.tensor([values]).double(), points=points)
    moved = sum(each for at, each in enumerate(said) if of == "all" or at not in own)
    both = Deletion(of).measure(told)["deletion"] + Insertion(of).measure(told)["insertion"]
    assert float(both) == pytest.approx(moved, abs=1e-9)


def _recommended_to_nobody() -> tuple[Pairwise, Inputs]:
    """An item, slot 2, that scores below nothing unless it meets the user's slots 0 and 1."""
    pairs = torch.tensor([[0.0, 0, -4], [0, 0, -4], [-4, -4, 0]]).double()
    return Pairwise(ones(3).weight.data, pairs), owned(listed([[2, 1, -1]]), [2])


def test_an_explanation_that_gives_the_item_nothing_wins_nothing_by_it() -> None:
    model, inputs = _recommended_to_nobody()
    exact = contributions(model, inputs)
    assert exact.tolist() == [[6, 3, 5]]
    right = case(model, inputs, exact, points=3)
    wrong = case(model, inputs, torch.where(inputs.features.group == ITEM, 0, exact), points=3)
    # Of all: 14, 4, 1, 0 in the right order, 14, 4, -1, 0 where the item goes last.
    assert Deletion("all").measure(right)["deletion"].item() == pytest.approx(12 / 3)
    assert Deletion("all").measure(wrong)["deletion"].item() == pytest.approx(10 / 3)
    # Of the user's two, in three steps: 14, 4, 4, -1 and -1, 9, 9, 14, above the item's own -1.
    for told in (right, wrong):
        assert Deletion().measure(told)["deletion"].item() == pytest.approx((10 + 5 + 2.5) / 3)
        assert Insertion().measure(told)["insertion"].item() == pytest.approx((5 + 10 + 12.5) / 3)


def test_completeness() -> None:
    model, inputs = random_toy(rows=5, slots=6, seed=0)
    exact = contributions(model, inputs)
    gap = Completeness().measure(case(model, inputs, exact))["completeness_gap"]
    assert gap.max() < 1e-9
    wrong = exact + torch.where(inputs.players, 0.25, 0.0)
    gap = Completeness().measure(case(model, inputs, wrong))["completeness_gap"]
    assert torch.allclose(gap, inputs.players.sum(1).double() / 4)
    gap = Completeness().measure(case(model, inputs, 2 * exact - wrong))["completeness_gap"]
    assert torch.allclose(gap, inputs.players.sum(1).double() / 4)  # a gap has no sign


def test_completeness_is_by_the_score_and_base_that_the_explainer_named() -> None:
    inputs = listed([[3, 1]])
    told = Explanation.of(
        inputs, torch.tensor([[3.0, 1.0]]), torch.tensor([9.0]), torch.tensor([4.0]), Cost(), "x"
    )
    found = Completeness().measure(Case(ones(2), inputs, logit, told))
    assert found["completeness_gap"].tolist() == [1]
