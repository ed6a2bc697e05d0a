"""A game of products: its values by hand, its Shapley values by enumeration."""

from __future__ import annotations

import pytest
import torch
from explain.toys import shapley
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.explain.coalitions import every
from xrec.explain.surrogate import ProductGame

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


def game(players: int, seed: int, rank: int = 3) -> ProductGame:
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": torch.double}
    return ProductGame(torch.randn(2, players, rank, **draw), torch.randn(2, rank, **draw))


def test_values_by_hand() -> None:
    one = ProductGame(torch.tensor([[[1.0, 2], [3, -1]]]), torch.tensor([[2.0, 10]]))
    # none: 2 + 10; first: 2·2 + 10·3; second: 2·4 + 10·0; both: 2·2·4 + 10·3·0
    assert one.value(every(2)[None])[0].tolist() == [12, 34, 8, 16]
    assert one.differences(every(2)[None])[0].tolist() == [-2, 13, -13, 2]


@given(players=st.integers(1, 7), seed=st.integers(0, 999))
@QUICK
def test_shapley_values_by_enumeration(players: int, seed: int) -> None:
    made = game(players, seed)
    worth = made.value(every(players).expand(2, -1, -1))
    found = made.shapley(players)
    for row in range(2):
        expected = shapley(
            lambda inside, row=row: float(worth[row, sum(2**at for at in inside)]), range(players)
        )
        for player in range(players):
            assert float(found[row, player]) == pytest.approx(expected[player], abs=1e-8)


def test_slots_that_are_no_players_change_nothing() -> None:
    made = game(5, 0)
    wide = ProductGame(torch.nn.functional.pad(made.weight, (0, 0, 2, 3)), made.share)
    found = wide.shapley(5)
    assert torch.allclose(found[:, 2:7], made.shapley(5))
    assert not found[:, :2].any()
    assert not found[:, 7:].any()


def test_many_players_are_still_exact() -> None:
    """Closed form: of Π (1 + w) with all w alike, each of n players gets ((1 + w)^n - 1) / n."""
    players = 60
    made = ProductGame(torch.full((1, players, 1), 0.0625).double(), torch.ones(1, 1).double())
    expected = (1.0625**players - 1) / players
    assert made.shapley(players)[0].tolist() == pytest.approx([expected] * players, abs=1e-10)
