"""Kriging against sums over all sets of players, and against every order of them."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
import torch
from explain.toys import shapley
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.explain.coalitions import balanced, chosen, every, signs_of, with_all
from xrec.explain.kriging import crossed, even, kernel, kriged, prior, unbiased

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


def sets(players: int, least: int = 3) -> list[tuple[int, ...]]:
    """The odd sets of players, of `least` and more."""
    return [s for size in range(least, players + 1, 2) for s in combinations(range(players), size)]


def character(signs: Tensor, members: tuple[int, ...]) -> Tensor:
    return signs[:, list(members)].prod(1)


def played(worth: Tensor, signs: Tensor) -> Tensor:
    """(m,) half of what coalitions are worth more than their complements; worth (2^n,)."""
    number = ((signs > 0).long() << torch.arange(signs.shape[1])).sum(1)
    return (worth[number] - worth[len(worth) - 1 - number]) / 2


def exact(worth: Tensor, players: int) -> Tensor:
    """(n,) Shapley values by the tests' own enumeration."""
    found = shapley(
        lambda inside: float(worth[sum(2**player for player in inside)]), range(players)
    )
    return torch.tensor([found[player] for player in range(players)], dtype=torch.double)


def bent(players: int, seed: int, games: int = 1) -> Tensor:
    """(games, 2^n) worths of games in which any number of players interact."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(games, players, generator=generator, dtype=torch.double)
    other = torch.randn(games, players, generator=generator, dtype=torch.double)
    inside = every(players).double()
    return 2 * torch.tanh(weight @ inside.T / 2) + torch.sigmoid(other @ inside.T) * (
        weight @ inside.T / 3
    )


@pytest.mark.parametrize("players", [3, 4, 6, 7])
def test_kernel_and_values_are_sums_over_sets(players: int) -> None:
    rho = torch.rand(2, players, generator=torch.Generator().manual_seed(players)).double() * 0.8
    signs = signs_of(every(players))[::3]
    expected, cross = torch.zeros(2, len(signs), len(signs)), torch.zeros(2, players, len(signs))
    before = torch.zeros(2, players, dtype=torch.double)
    expected, cross = expected.double(), cross.double()
    for members in sets(players):
        variance = rho[:, list(members)].prod(1)
        told = character(signs, members)
        expected += variance[:, None, None] * told[:, None] * told
        for player in members:
            cross[:, player] += 2 / len(members) * variance[:, None] * told
            before[:, player] += 4 / len(members) ** 2 * variance
    assert torch.allclose(kernel(signs, rho), expected, atol=1e-10)
    assert torch.allclose(crossed(signs, rho), cross, atol=1e-10)
    assert torch.allclose(prior(rho), before, atol=1e-10)


@given(players=st.integers(3, 12), seed=st.integers(0, 999))
@QUICK
def test_games_of_pairs_are_found_exactly(players: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(players, generator=generator, dtype=torch.double)
    pairs = torch.randn(players, players, generator=generator, dtype=torch.double).triu(1)
    signs = signs_of(with_all(chosen(0, players, 0, seed)))
    inside = every(players).double()
    worth = inside @ weight + ((inside @ pairs) * inside).sum(1)
    found = kriged(signs, played(worth, signs)[None])
    assert torch.allclose(found.values[0], weight + (pairs + pairs.T).sum(1) / 2, atol=1e-8)
    assert found.deviation.max() < 1e-6
    count = min(2 * players, 2 ** (players - 1) - 1)
    signs = signs_of(with_all(balanced(players, count, seed)))
    again = unbiased(signs, played(worth, signs)[None])
    assert torch.allclose(again.values, found.values, atol=1e-7)


@given(seed=st.integers(0, 999), players=st.integers(4, 10))
@QUICK
def test_values_add_up(seed: int, players: int) -> None:
    signs = signs_of(with_all(chosen(0, players, 0, seed)))
    worth = bent(players, seed)[0]
    for found in (
        kriged(signs, played(worth, signs)[None]),
        unbiased(signs, played(worth, signs)[None]),
    ):
        assert float(found.values.sum()) == pytest.approx(float(worth[-1] - worth[0]), abs=1e-6)


@pytest.mark.parametrize(("players", "pairs"), [(4, 6), (5, 8), (5, 11), (6, 9)])
def test_unbiased_over_every_order_of_the_players(players: int, pairs: int) -> None:
    """Not on average over many draws but exactly: over all n! orders, of a game of noise."""
    worth = torch.randn(2**players, generator=torch.Generator().manual_seed(1)).double()
    signs = signs_of(with_all(balanced(players, pairs, 0)))
    orders = torch.tensor(list(permutations(range(players))))
    differences = torch.stack([played(worth, signs[:, order]) for order in orders])
    found = unbiased(signs, differences).values.gather(1, orders)  # of each player, in each order
    truth = exact(worth, players)
    assert torch.allclose(found.mean(0), truth, atol=1e-8)
    biased = kriged(signs, differences).values.gather(1, orders)
    assert not torch.allclose(biased.mean(0), truth, atol=1e-3)


@pytest.mark.parametrize("how", ["kriged", "unbiased"])
def test_intervals_cover_what_they_should(how: str) -> None:
    """Over games of many kinds: 95 % intervals that are right nine times in ten, or more."""
    inside, apart, count = 0, 0.0, 0
    for seed in range(12):
        worth = bent(9, seed, games=20)
        truth = torch.stack([exact(each, 9) for each in worth[:4]])
        signs = signs_of(with_all(balanced(9, 24, seed)))
        differences = torch.stack([played(each, signs) for each in worth[:4]])
        found = {"kriged": kriged, "unbiased": unbiased}[how](signs, differences)
        gap = (found.values - truth).abs()
        inside += int((gap <= 1.96 * found.deviation).sum())
        apart += float((gap / found.deviation).square().sum())
        count += gap.numel()
    assert inside / count > 0.88
    assert 0.2 < apart / count < 2  # neither boastful nor so careful that it says nothing


def test_players_of_no_worth_are_no_trouble() -> None:
    signs = signs_of(with_all(chosen(0, 5, 0, 0)))
    found = kriged(signs, torch.zeros(2, len(signs), dtype=torch.double))
    assert not found.values.any()
    assert not found.deviation.any()


def test_rows_do_not_hear_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    signs = signs_of(with_all(chosen(1, 8, 0, 0)))
    differences = torch.stack([played(each, signs) for each in bent(8, 0, games=6)])
    whole = kriged(signs, differences)
    monkeypatch.setattr("xrec.explain.kriging.AT_ONCE", 1)
    each = kriged(signs, differences)
    assert torch.allclose(each.values, whole.values, atol=1e-10)
    assert torch.allclose(each.deviation, whole.deviation, atol=1e-8)


def test_the_even_prior_is_the_same_for_all() -> None:
    assert even(10).unique().numel() == 1
    assert float(even(1)) < 1
