"""Agreement with planted causes: by hand, and against scipy."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from explain.toys import listed, ones
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from judging import case
from scipy import stats

from xrec_plugins.metrics.planted_truth import PlantedTruth

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=40)
NAN = math.nan


def judged(
    told: list[list[float]], truth: list[list[float]], k: int = 5, among: int = 10
) -> dict[str, list[float]]:
    """What PlantedTruth says of contributions, all slots being players."""
    inputs, values = listed(told), torch.tensor(told, dtype=torch.double)
    whole = case(ones(len(told[0])), inputs, values, truth=torch.tensor(truth, dtype=torch.double))
    return {name: found.tolist() for name, found in PlantedTruth(k, among).measure(whole).items()}


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


@pytest.mark.parametrize(
    ("told", "truth", "recall", "mass"),
    [
        ([4, 3, 2, 1], [4, 3, 0, 0], 1, 7 / 10),
        ([-4, 0, 3, -1], [5, 0, 0, -5], 1 / 2, 5 / 8),  # by size; the second one named is no cause
        ([4, 3, 2, 1], [10, 0.99, 1, 0], 1 / 2, 6 / 10),  # slot 1 does less than a tenth
        ([1, 2, 3, 4], [-10, 0, 1, 1], 2 / 3, 8 / 10),
        ([9, 4, 3, 1], [NAN, 1, 0, 3], 1 / 2, 5 / 8),  # slot 0 is not for the plant to judge
        ([0, 0, 0, 0], [0, 0, 2, 1], 0, 0),  # ties go to the lower slots; nothing on the causes
        ([1, 2, 3, 4], [0, 0, 0, 0], NAN, NAN),
        ([1, 2, 3, 4], [NAN, NAN, NAN, NAN], NAN, NAN),
    ],
)
def test_recall_and_mass_by_hand(told, truth, recall: float, mass: float) -> None:
    other = [4, 3, 2, 1]  # a row does not look at another
    found = judged([told, other], [truth, other], among=2)
    assert found["planted_recall"] == pytest.approx([recall, 1 / 2], nan_ok=True)
    assert found["planted_mass"] == pytest.approx([mass, 1], nan_ok=True)


@given(seed=st.integers(0, 9999), slots=st.integers(2, 9))
@QUICK
def test_recall_grows_with_the_features_named_and_the_planted_values_reach_all(seed, slots) -> None:
    rng = np.random.default_rng(seed)
    told, truth = rng.normal(size=(2, 3, slots)).round(1)
    assume((truth != 0).any(1).all())
    recalls = np.array(
        [
            judged(told.tolist(), truth.tolist(), among=among)["planted_recall"]
            for among in range(1, slots + 1)
        ]
    )
    assert (np.diff(recalls, axis=0) >= 0).all()
    assert (recalls[-1] == 1).all()  # all features are named
    material = np.abs(truth) >= 0.1 * np.abs(truth).max(axis=1, keepdims=True)
    exact = judged(np.where(material, truth, 0).tolist(), truth.tolist(), among=slots)
    assert exact["planted_recall"] == exact["planted_mass"] == [1, 1, 1]


@given(seed=st.integers(0, 9999), scale=st.sampled_from([-4.0, -0.5, 0.25, 8.0]))
@QUICK
def test_all_but_the_rank_go_by_size_alone(seed: int, scale: float) -> None:
    told, truth = np.random.default_rng(seed).normal(size=(2, 3, 6))
    one = judged(told.tolist(), truth.tolist(), k=2, among=3)
    other = judged((scale * told).tolist(), truth.tolist(), k=2, among=3)
    turned = -1 if scale < 0 else 1
    for name in one:
        sign = turned if name == "planted_rank" else 1
        assert other[name] == pytest.approx([sign * each for each in one[name]])


def test_planted_truth_applies_only_where_there_is_one() -> None:
    inputs = listed([[3, 1]])
    assert PlantedTruth().measure(case(ones(2), inputs, inputs.values[..., 0])) == {}


@pytest.mark.parametrize("name", ["k", "among"])
def test_planted_truth_refuses_numbers_below_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        PlantedTruth(**{name: 0})
