"""Sparsity: by hand, and as half the relative mean difference."""

from __future__ import annotations

import pytest
import torch
from explain.toys import listed, ones, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import case

from xrec_plugins.metrics.sparsity import Sparsity

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=60)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0, 0, 5], 3 / 4),
        ([0, -5, 0, 0], 3 / 4),
        ([1, -1, 1, -1], 0),
        ([1, 2, 3, 4], 1 / 4),
        ([0, 0, 0, 0], 0),
        ([7], 0),
    ],
)
def test_by_hand(values: list[float], expected: float) -> None:
    told = case(ones(len(values)), listed([values]), torch.tensor([values]).double())
    assert Sparsity().measure(told)["sparsity"].tolist() == pytest.approx([expected])


@given(seed=st.integers(0, 999), slots=st.integers(1, 9))
@QUICK
def test_it_is_half_the_relative_mean_difference_over_the_players(seed: int, slots: int) -> None:
    model, inputs = random_toy(rows=3, slots=slots, seed=seed)
    values = torch.randn(3, slots, generator=torch.Generator().manual_seed(seed)).double()
    found = Sparsity().measure(case(model, inputs, values))["sparsity"]
    for row in range(3):
        size = values[row, inputs.players[row]].abs()
        apart = (size[:, None] - size).abs().mean()
        expected = float(apart / (2 * size.mean()))  # NaN without a player
        assert float(found[row]) == pytest.approx(expected, nan_ok=True)
