"""Fidelity metrics: by hand on additive models, and against scipy."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from explain.toys import contributions, listed, masked_score, ones, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.target import logit
from xrec.fidelity.metric import Case, retells
from xrec.fidelity.retelling import Retelling
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.plugins import factory, listings
from xrec.testing import small_model
from xrec_plugins.metrics.completeness import Completeness
from xrec_plugins.metrics.deletion import Deletion
from xrec_plugins.metrics.insertion import Insertion
from xrec_plugins.metrics.planted_truth import PlantedTruth

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=40)
NAMES = [listing.name for listing in listings("metric") if listing.package == "xrec"]
NAN = math.nan


def case(model: Recommender, inputs: Inputs, values: Tensor, **how: object) -> Case:
    """`values` as an explanation of the inputs."""
    game = Game(model, inputs)
    told = Explanation.of(inputs, values, game.everything(), game.nothing(), Cost(), "by_hand")
    return Case(model, inputs, logit, told, **how)


def judged(told: list[list[float]], truth: list[list[float]], k: int = 5) -> dict[str, list[float]]:
    """What PlantedTruth says of contributions, all slots being players."""
    inputs, values = listed(told), torch.tensor(told, dtype=torch.double)
    whole = case(ones(len(told[0])), inputs, values, truth=torch.tensor(truth, dtype=torch.double))
    return {name: found.tolist() for name, found in PlantedTruth(k).measure(whole).items()}


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


@pytest.mark.parametrize(
    ("told", "truth", "k", "expected"),
    [
        ([4, 3, 2, 1], [4, 3, 2, 1], 2, 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], 2, 0),
        ([4, 1, 3, 2], [4, 3, 2, 1], 2, 1 / 2),
        ([-4, 0, 3, 0], [0, -1, 0.5, 0], 2, 1 / 2),  # by size, and only two causes to name
        ([0, 5, 0, 4], [0, 2, 0, 1], 3, 1),  # k larger than the causes
        ([0, 1, 9, 0], [0, 2, 0, 0], 3, 0),  # one cause: only the first named counts
        ([9, 1, 2, 3], [NAN, 3, 2, 1], 2, 1 / 2),  # slot 0 is not for the plant to judge
        ([0, 0, 0, 0], [0, 0, 2, 1], 2, 0),  # ties go to the lower slots
        ([1, 2, 3, 4], [0, 0, 0, 0], 2, NAN),
        ([1, 2, 3, 4], [NAN, NAN, NAN, NAN], 2, NAN),
    ],
)
def test_precision_by_hand(told, truth, k: int, expected: float) -> None:
    other = [1, 2, 3, 4]  # a row does not look at another
    found = judged([told, other], [truth, other], k)["planted_precision"]
    assert found == pytest.approx([expected, 1], nan_ok=True)


@given(seed=st.integers(0, 9999), slots=st.integers(2, 9), ties=st.booleans())
@QUICK
def test_rank_correlation_is_scipys_among_what_the_plant_tells(seed, slots, ties) -> None:
    rng = np.random.default_rng(seed)
    told, truth = rng.normal(size=(2, 4, slots))
    if ties:
        told, truth = told.round(), truth.round()
    truth[rng.random(truth.shape) < 0.2] = NAN
    found = judged(told.tolist(), truth.tolist())["planted_rank"]
    for row in range(4):
        known = ~np.isnan(truth[row])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            few = known.sum() < 2
            expected = NAN if few else stats.spearmanr(told[row][known], truth[row][known])[0]
        assert found[row] == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("told", "truth", "expected"),
    [
        ([1, 2, 3], [10, 20, 90], 1),
        ([3, 2, 1], [10, 20, 90], -1),
        ([1, -5, 3], [2, -9, 4], 1),  # with sign, not by size
        ([1, 2, 3, 99], [1, 2, 3, NAN], 1),
        ([1, 1, 1], [1, 2, 3], NAN),  # a constant has no order
        ([1, 2, 3], [0, 0, 0], NAN),
        ([1, 2, 3], [5, NAN, NAN], NAN),
        ([1, 2, 3], [NAN, NAN, NAN], NAN),
    ],
)
@pytest.mark.filterwarnings("error")
def test_rank_correlation_by_hand(told, truth, expected: float) -> None:
    (found,) = judged([told], [truth])["planted_rank"]
    assert found == pytest.approx(expected, nan_ok=True)


def test_planted_truth_applies_only_where_there_is_one() -> None:
    inputs = listed([[3, 1]])
    assert PlantedTruth().measure(case(ones(2), inputs, inputs.values[..., 0])) == {}


def test_planted_truth_refuses_k_below_one() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        PlantedTruth(0)
