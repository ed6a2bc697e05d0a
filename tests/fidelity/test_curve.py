"""Removal curves by hand on additive models, and against a loop over masked inputs."""

from __future__ import annotations

import pytest
import torch
from explain.toys import Additive, listed, masked_score, ones, random_toy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.explain.game import Game
from xrec.fidelity.curve import area, removal_curve

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=60)
SAID = st.lists(st.integers(-20, 20), min_size=1, max_size=7)


def game(said: list[float], bias: float = 0.0) -> Game:
    """One row whose slots say `said`."""
    weight = torch.ones(len(said), 1, dtype=torch.double)
    return Game(Additive(weight, bias), listed([said]))


def areas(said: list[float], order: list[int], points: int) -> dict[bool, float]:
    """Deletion and insertion areas if features come in `order`."""
    values = torch.zeros(1, len(said))
    values[0, order] = torch.arange(len(said), 0, -1).float()
    played = game(said)
    return {
        insert: float(area(removal_curve(played, values, points, insert), played.nothing()))
        for insert in (False, True)
    }


def test_by_hand() -> None:
    played = game([3, 1, -2, 0.5], bias=10)
    values = torch.tensor([[3, 1, -2, 0.5]])  # in the order 0, 1, 3, 2
    deletion = removal_curve(played, values, 4, insert=False)
    insertion = removal_curve(played, values, 4, insert=True)
    assert deletion.tolist() == [[12.5, 9.5, 8.5, 8, 10]]
    assert insertion.tolist() == [[10, 13, 14, 14.5, 12.5]]
    base = torch.tensor([10.0])
    assert area(deletion, base).tolist() == [-2.75 / 4]  # 1 - 1 - 1.75 - 1 over four steps
    assert area(insertion, base).tolist() == [12.75 / 4]  # 1.5 + 3.5 + 4.25 + 3.5


def test_ties_go_to_the_lower_slot() -> None:
    found = removal_curve(game([1, 2, 4, 8]), torch.zeros(1, 4), 4, insert=False)
    assert found.tolist() == [[15, 14, 12, 8, 0]]


def test_some_come_and_go_and_others_stay() -> None:
    played, among = game([3, 1, -2, 0.5], bias=10), torch.tensor([[True, False, True, False]])
    values = torch.tensor([[3.0, 99, -2, -99]])  # whatever is said of the others
    deletion = removal_curve(played, values, 2, insert=False, among=among)
    insertion = removal_curve(played, values, 2, insert=True, among=among)
    assert deletion.tolist() == [[12.5, 9.5, 11.5]]
    assert insertion.tolist() == [[11.5, 14.5, 12.5]]


def test_padding_and_fixed_slots_are_not_counted_as_features() -> None:
    model, inputs = random_toy(rows=1, slots=6, seed=0, pairs=False, fixed=(1,))
    present = torch.tensor([[1, 1, 0, 1, 0, 1]]).bool()
    inputs = inputs.with_present(present)
    high = torch.where(inputs.players, 0.0, 100.0)  # whatever the explainer says of them
    values = high + torch.arange(6)
    whole = removal_curve(Game(model, inputs), values, 3, insert=False)
    expected = [masked_score(model, inputs, 0, left) for left in ({0, 3, 5}, {0, 3}, {0}, set())]
    assert whole[0].tolist() == pytest.approx(expected)


@given(
    slots=st.integers(2, 9),
    points=st.integers(1, 12),
    seed=st.integers(0, 99),
    insert=st.booleans(),
)
@QUICK
def test_steps_take_the_rounded_share_of_the_features(slots, points, seed, insert) -> None:
    model, inputs = random_toy(2, slots, seed)
    values = torch.randn(2, slots, generator=torch.Generator().manual_seed(seed))
    found = removal_curve(Game(model, inputs), values, points, insert)
    assert found.shape == (2, points + 1)
    for row in range(2):
        players = inputs.players[row].nonzero()[:, 0].tolist()
        ranked = sorted(players, key=lambda slot: -values[row, slot])
        for step in range(points + 1):
            first = set(ranked[: round(step * len(players) / points)])
            inside = first if insert else set(players) - first
            expected = masked_score(model, inputs, row, inside)
            assert float(found[row, step]) == pytest.approx(expected, abs=1e-9)


def test_a_half_is_rounded_to_even_however_many_features_there_are() -> None:
    # 3 · 95 / 10 = 28.5, which 0.3 · 95 in single precision is not.
    played = Game(ones(95), listed([[1.0] * 95]))
    found = removal_curve(played, torch.zeros(1, 95), 10, insert=True)
    assert found[0].tolist() == [round(step * 95 / 10) for step in range(11)]


@given(said=SAID, data=st.data(), points=st.integers(1, 10))
@QUICK
def test_no_order_deletes_or_inserts_better_than_the_true_one(said, data, points) -> None:
    best = areas(said, sorted(range(len(said)), key=lambda at: -said[at]), points)
    other = areas(said, data.draw(st.permutations(range(len(said)))), points)
    assert best[False] <= other[False] + 1e-9
    assert best[True] >= other[True] - 1e-9


@given(said=SAID, points=st.integers(1, 10))
@QUICK
def test_the_reversed_order_is_the_worst_and_mirrors_the_best(said, points) -> None:
    # Taking the best away first leaves what bringing the worst in first has brought in, backwards.
    n = len(said)
    halves = [step for step in range(points) if (step * n) % points * 2 == points]
    assume(not halves)  # which are not rounded alike from both ends
    order = sorted(range(n), key=lambda at: -said[at])
    values = torch.zeros(1, n)
    values[0, order] = torch.arange(n, 0, -1).float()
    played = game(said)
    away = removal_curve(played, values, points, insert=False)
    back = removal_curve(played, -values, points, insert=True)
    assert torch.allclose(away, back.flip(1))


def test_both_ends_are_the_score_and_the_base() -> None:
    model, inputs = random_toy(4, 6, seed=2)
    values = torch.randn(4, 6)
    for absent in ("remove", "baseline"):
        played = Game(model, inputs, absent=absent)
        ends: list[Tensor] = [played.everything(), played.nothing()]
        for insert in (False, True):
            curve = removal_curve(played, values, 5, insert)
            assert torch.allclose(torch.stack([curve[:, 0], curve[:, -1]]), torch.stack(ends))
            ends.reverse()


def test_area_of_a_flat_curve_is_its_height_above_the_base() -> None:
    curve = torch.tensor([[3.0] * 6, [1.0] * 6])
    assert area(curve, torch.tensor([1.0, 4.0])).tolist() == [2, -3]
