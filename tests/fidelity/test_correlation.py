"""Rank correlation against scipy, and the overlap of tops by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xrec.fidelity.correlation import likeness, overlap, spearman

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=100)
NAN = math.nan


def rows(*values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.double)


@given(
    seed=st.integers(0, 9999),
    slots=st.integers(0, 9),
    grain=st.sampled_from([0, 1, 100]),
    single=st.booleans(),
)
@QUICK
def test_spearman_is_scipys_among_the_slots_that_count(seed, slots, grain, single) -> None:
    rng = np.random.default_rng(seed)
    told, other = rng.normal(size=(2, 4, slots)).round(grain)  # rounded: ties; 0: many
    among = rng.random((4, slots)) < 0.7
    told[~among] = rng.choice([NAN, 0, math.inf, -9], size=(~among).sum())  # whatever is there
    kind = torch.float if single else torch.double
    one, two = torch.tensor(told, dtype=kind), torch.tensor(other, dtype=kind)
    found = spearman(one, two, torch.tensor(among))
    assert found.dtype == torch.double
    for row in range(4):
        there = among[row]
        expected = NAN
        if there.sum() > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", stats.ConstantInputWarning)
                pair = (one[row].numpy()[there], two[row].numpy()[there])
                expected = float(stats.spearmanr(*pair).statistic)
        assert float(found[row]) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("told", "other", "expected", "alike"),
    [
        ([1, 2, 3], [10, 20, 90], 1, 1),
        ([3, 2, 1], [10, 20, 90], -1, -1),
        ([1, -5, 3], [2, -9, 4], 1, 1),  # with sign, not by size
        ([1, 1, 1], [1, 2, 3], NAN, 0),
        ([1, 2, 3], [4, 4, 4], NAN, 0),
        ([1, 1, 1], [4, 4, 4], NAN, 1),
        ([0.1, math.inf, 7], [1, 3, 2], 1, 1),
        ([1, NAN, 3], [1, 2, 3], NAN, NAN),
    ],
)
def test_by_hand(told, other, expected: float, alike: float) -> None:
    everything = torch.ones(1, 3, dtype=torch.bool)
    found = spearman(rows(told), rows(other), everything)
    assert float(found) == pytest.approx(expected, nan_ok=True)
    found = likeness(rows(told), rows(other), everything)
    assert float(found) == pytest.approx(alike, nan_ok=True)


def test_an_infinite_value_is_not_taken_for_slots_that_do_not_count() -> None:
    among = torch.tensor([[True, True, True, False, False]])
    found = spearman(rows([1, math.inf, 2, 0, 0]), rows([1, 2, 3, 0, 0]), among)
    assert float(found) == pytest.approx(1 / 2)


def test_a_row_of_one_slot_or_none_has_no_order() -> None:
    among = torch.tensor([[True, False, False], [False, False, False]])
    values = rows([1, 2, 3], [1, 2, 3])
    assert spearman(values, values, among).isnan().all()
    assert likeness(values, values, among).isnan().all()
    assert overlap(values, values, among, 2).tolist() == pytest.approx([1, NAN], nan_ok=True)


@pytest.mark.parametrize(
    ("told", "other", "k", "expected"),
    [
        ([4, 3, 2, 1], [1, 2, 3, 4], 2, 0),
        ([4, 3, 2, 1], [1, 2, 3, 4], 3, 2 / 3),
        ([-9, 1, 8, 0], [8, 0, -9, 1], 2, 1),  # by size
        ([9, 1, 0, 0], [0, 0, 0, 1], 2, 1 / 2),  # ties go to the lower slot: 0, 1 and 3, 0
        ([1, 2, 3, 4], [4, 3, 2, 1], 9, 1),  # k larger than the row
    ],
)
def test_overlap_by_hand(told, other, k: int, expected: float) -> None:
    everything = torch.ones(1, 4, dtype=torch.bool)
    assert float(overlap(rows(told), rows(other), everything, k)) == pytest.approx(expected)


def test_overlap_is_among_the_slots_that_count() -> None:
    among = torch.tensor([[False, True, True, True]])
    assert float(overlap(rows([99, 3, 2, 1]), rows([0, 3, 1, 2]), among, 2)) == 1 / 2
