"""Two explanations of the same recommendations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from explain.toys import toy_inputs
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from xrec.bench.agreement import agreement
from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation


def told(values: Tensor, present: Tensor | None = None) -> Explanation:
    inputs = toy_inputs(torch.ones(*values.shape, 1), present)
    nothing = torch.zeros(len(values))
    return Explanation.of(inputs, values, nothing, nothing, Cost(), "it")


def both(one: Explanation, other: Explanation, k: int = 2) -> list[tuple[float, float]]:
    found = agreement(one, other, k)
    ranks, tops = (found[name].tolist() for name in ("agreement_rank", "agreement_top"))
    return list(zip(ranks, tops, strict=True))


def test_by_hand() -> None:
    one = told(torch.tensor([[3.0, 2, 1, 0], [3, 2, 1, 0], [3, 2, 1, 0]]))
    other = told(torch.tensor([[9.0, 5, 4, 1], [0, 1, 2, 3], [2, 3, -4, 0]]))
    # Ranks 3 2 1 0 and 2 3 0 1: squared differences sum to 4, and 1 − 6 · 4 / (4 · 15) = 0.6.
    assert both(one, other) == [(1.0, 1.0), (-1.0, 0.0), (pytest.approx(0.6), 0.5)]


def test_what_became_the_same_for_all_features_agrees_with_nothing() -> None:
    one, other = told(torch.tensor([[3.0, 2, 1]])), told(torch.zeros(1, 3))
    assert both(one, other)[0][0] == 0
    assert both(other, one)[0][0] == 0


def test_padding_counts_for_nothing() -> None:
    present = torch.tensor([[True, True, False, True]])
    one = told(torch.tensor([[3.0, 2, 99, 1]]), present)
    other = told(torch.tensor([[3.0, 2, -99, 1]]), present)
    assert both(one, other) == [(1.0, 1.0)]


def test_rows_of_other_features_are_not_compared() -> None:
    values = torch.tensor([[3.0, 2, 1], [3, 2, 1]])
    one = told(values)
    gone = told(values, torch.tensor([[True, True, False], [True, True, True]]))
    assert [rank != rank for rank, _ in both(one, gone)] == [True, False]
    key = one.features.key.clone()
    key[1, 0] = 2
    other = replace(one, features=replace(one.features, key=key))
    assert [(rank != rank, top != top) for rank, top in both(one, other)] == [
        (False, False),
        (True, True),
    ]
    assert all(rank != rank for rank, _ in both(one, told(torch.ones(2, 4))))


def test_words_count_with_their_events() -> None:
    one, other = told(torch.tensor([[2.0, 1, 1, 0.5]])), told(torch.tensor([[0.0, 1, 1, 2.5]]))
    parent = torch.tensor([[-1, -1, -1, 0]])
    summed = [
        replace(each, features=replace(each.features, parent=parent)) for each in (one, other)
    ]
    assert both(*summed) == [(1.0, 1.0)]
    assert both(one, other) != [(1.0, 1.0)]


@given(st.integers(0, 999), st.floats(0.1, 9))
def test_invariances(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, 3, 7, generator=generator, dtype=torch.double)
    found = agreement(told(one), told(other), 3)
    order = torch.randperm(7, generator=generator)
    alike = (other, one), (scale * one, other), (one[:, order], other[:, order])
    for pair in alike:
        torch.testing.assert_close(agreement(*map(told, pair), 3), found)
    turned = {**found, "agreement_rank": -found["agreement_rank"]}
    torch.testing.assert_close(agreement(told(-one), told(other), 3), turned)
    for rank, mine, its in zip(found["agreement_rank"], one, other, strict=True):
        assert float(rank) == pytest.approx(stats.spearmanr(mine, its).statistic)
