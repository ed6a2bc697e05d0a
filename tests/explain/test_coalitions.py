"""Which coalitions are asked of: all different, of every size, by players and seed alone."""

from __future__ import annotations

import pytest
import torch
from explain.toys import random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.explain.coalitions import Seats, balanced, chosen, every, pairs_by
from xrec.testing import small_model

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


def pairs(coalitions: Tensor) -> set[frozenset[tuple[bool, ...]]]:
    """The different pairs of a coalition and its complement."""
    return {frozenset((tuple(c.tolist()), tuple((~c).tolist()))) for c in coalitions}


def test_every_coalition() -> None:
    found = every(3)
    assert not found[0].any()
    assert found[-1].all()
    assert len({tuple(each.tolist()) for each in found}) == 8
    assert every(0).shape == (1, 0)


@given(players=st.integers(5, 30), seed=st.integers(0, 99), apart=st.integers(0, 4))
@QUICK
def test_chosen_coalitions_are_different_pairs(players: int, seed: int, apart: int) -> None:
    first, second = (chosen(turn, players, apart, seed) for turn in (0, 1))
    assert len(pairs(second)) == len(second)
    assert not any(c.all() or not c.any() for c in second)
    assert torch.equal(second[: len(first)], first)
    if players > 6:
        assert len(second) == pairs_by(1, players)
    assert torch.linalg.matrix_rank(first.double() * 2 - 1) == players


def test_chosen_follow_the_seed_alone() -> None:
    one = chosen(0, 12, 0, 3)
    chosen.cache_clear()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert torch.equal(chosen(0, 12, 0, 3), one)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(chosen(0, 12, 0, 4), one)


def test_mates_have_what_is_read_once_alike() -> None:
    found = chosen(1, 12, 4, 0)
    with_complements = torch.cat([found, ~found])
    read = len({tuple(each.tolist()) for each in with_complements[:, :8]})
    alone = chosen(1, 12, 0, 0)
    others = len({tuple(each.tolist()) for each in torch.cat([alone, ~alone])[:, :8]})
    assert read < 0.6 * len(with_complements) < others


@given(players=st.integers(4, 20), seed=st.integers(0, 99), more=st.integers(1, 40))
@QUICK
def test_balanced_coalitions_are_of_every_size(players: int, seed: int, more: int) -> None:
    count = min(players + more, 2 ** (players - 1) - 1)
    found = balanced(players, count, seed)
    assert len(pairs(found)) == len(found) == count
    assert set(found.sum(1).tolist()) == set(range(1, players // 2 + 1))


@pytest.mark.parametrize("apart", [(), (3,)])
def test_seats_lay_players_out_in_slots_and_back(apart: tuple[int, ...]) -> None:
    _, inputs = small_model(history=4, users=4)
    seats = Seats.of(inputs, apart)
    assert torch.equal(seats.count, inputs.players.sum(1))
    for rows in seats.alike():
        mine, n = seats.rows(rows), int(seats.count[rows[0]])
        laid = mine.laid(torch.eye(n, dtype=torch.bool))
        assert torch.equal(laid.sum(1).bool(), inputs.players[rows])
        assert bool((laid.sum(2) == 1).all())
        told = mine.told(torch.arange(1, n + 1).double().expand(len(rows), -1))
        assert torch.equal(told.long().amax(1), seats.count[rows])
        last = laid[:, n - int(mine.apart[0]) :].any(1)
        group = inputs.features.group[rows]
        assert bool(torch.isin(group[last], torch.tensor(apart)).all())


def test_rows_of_as_many_players_go_together() -> None:
    _, inputs = random_toy(rows=9, slots=6, seed=0)
    groups = Seats.of(inputs).alike()
    assert sorted(torch.cat(groups).tolist()) == list(range(9))
    assert len(groups) == len(inputs.players.sum(1).unique())
