"""Which coalitions to ask of: all of them, or few that tell the most of Shapley values.

Coalitions come with their complements. Candidates are drawn by their leverage in the regression
that Shapley values are the solution of, which makes every size as likely as another (Musco and
Witter, 2025), and from them those are taken that leave the values least uncertain (a pivoted
Cholesky factorisation, as in Fine and Scheinberg, 2001, of the prior in `kriging`).

What is drawn follows from a seed and the number of players alone: so a row's coalitions do not
depend on its batch, and all rows of as many players have the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import torch
from torch import Tensor

from xrec.explain import kriging
from xrec.models.inputs import Inputs

FIRST, GROWTH = 2.0, 1.25  # pairs in the first round, of each player, and growth with each round
POOL = 128  # candidates of a round, at least; four for each that is taken
MOST = 512  # or as many as this, or as are taken: finding the best takes the cube of their number
LINEAR = 10.0  # prior variance of the part that adds up
LEAST = 1e-6  # variance that a candidate must still have to be one


@dataclass(frozen=True)
class Seats:
    """The players of rows in the order of their slots; those that are read apart come last.

    rank (B, F) int64: the place of each slot among the players, 0 also where it is none.
    inside (B, F) bool: the players. count, apart (B,) int64: how many there are, and of those that
    are read apart.
    """

    rank: Tensor
    inside: Tensor
    count: Tensor
    apart: Tensor

    @classmethod
    def of(cls, inputs: Inputs, groups: tuple[int, ...] = ()) -> Seats:
        """The seats of the players; `groups` are those that the model reads apart."""
        inside = inputs.players
        apart = torch.zeros_like(inside)
        for group in groups:
            apart |= inputs.features.group == group
        apart &= inside
        first = inside & ~apart
        others = first.sum(1, keepdim=True)
        rank = torch.where(apart, others + apart.cumsum(1) - 1, first.cumsum(1) - 1)
        return cls(torch.where(inside, rank, 0), inside, inside.sum(1), apart.sum(1))

    def rows(self, index: Tensor) -> Seats:
        """Some of the rows."""
        return Seats(self.rank[index], self.inside[index], self.count[index], self.apart[index])

    def laid(self, coalitions: Tensor) -> Tensor:
        """(B, C, F): coalitions (C, n), or (B, C, n), of n players in order, as slots."""
        whole = coalitions.expand(len(self.rank), -1, -1) if coalitions.dim() == 2 else coalitions
        if not whole.shape[2]:
            return whole.new_zeros(*whole.shape[:2], self.rank.shape[1])
        rank = self.rank[:, None].expand(-1, whole.shape[1], -1)
        return whole.gather(2, rank) & self.inside[:, None]

    def told(self, values: Tensor) -> Tensor:
        """(B, F): what is told (B, n) of players in order, by slot; 0 for what is no player."""
        return torch.where(self.inside, values.gather(1, self.rank), 0)

    def alike(self) -> list[Tensor]:
        """The rows of each number of players, apart and not, that occurs; all rows together."""
        both = torch.stack([self.count, self.apart], dim=1)
        _, group = torch.unique(both, dim=0, return_inverse=True)
        return [(group == at).nonzero()[:, 0] for at in range(int(group.max()) + 1)]


def every(players: int) -> Tensor:
    """(2^n, n) bool: all coalitions, that of none first and that of all last."""
    number = torch.arange(2**players)[:, None]
    return (number >> torch.arange(players)) & 1 > 0


def pairs_by(turn: int, players: int) -> int:
    """How many pairs have been asked of after a round, from 0."""
    return -int(-FIRST * players * GROWTH**turn // 1)


@lru_cache(maxsize=512)
def chosen(turn: int, players: int, apart: int, seed: int) -> Tensor:
    """(P, n) bool: one of each pair of the rounds up to `turn`; those of earlier rounds first.

    There are fewer than `pairs_by` says where no others would tell more.

    Where several players are read apart, two coalitions each have the others alike, so that they
    cost a model which reads them once little more than one.
    """
    before = chosen(turn - 1, players, apart, seed) if turn else torch.zeros(0, players).bool()
    generator = torch.Generator().manual_seed(hash((turn, players, apart, seed)) % 2**63)
    count = pairs_by(turn, players) - len(before)
    pool = _drawn(max(count, min(max(POOL, 4 * count), MOST)), players, generator)
    mates = apart > 1 and players - apart > 1
    if mates:
        flips = torch.randint(0, 2, (len(pool), apart), generator=generator).bool()
        flips[:, 0] |= ~flips.any(1)
        other = pool.clone()
        other[:, players - apart :] ^= flips
        pool = torch.cat([pool, other])
    return torch.cat([before, pool[_taken(before, pool, count, mates)]])


def _drawn(count: int, players: int, generator: torch.Generator) -> Tensor:
    """(count, n) bool: coalitions of up to half of the players, every size as likely.

    Where there are no more pairs than that, one of each.
    """
    if 2 ** (players - 1) <= count:
        return every(players)[1 : 2 ** (players - 1)]
    size = torch.randint(1, max(2, players // 2 + 1), (count, 1), generator=generator)
    place = torch.rand(count, players, generator=generator).argsort(1).argsort(1)
    return place < size


def _taken(before: Tensor, pool: Tensor, count: int, mates: bool) -> Tensor:
    """Which of a pool (M, n) to take: the most telling given those that are there, one by one.

    Where they have mates, the other half of the pool, two at a time.
    """
    kernel, tells = _told(signs_of(pool), signs_of(with_all(before)))
    half = len(pool) // 2
    taken: list[int] = []
    while len(taken) < count:
        gain = _both(kernel, tells) if mates else _gain(kernel, tells)
        best = int(gain.argmax())
        if gain[best] <= 0:
            break  # all that are left are known from the others
        for at in (best, best + half) if mates else (best,):
            if len(taken) < count and kernel[at, at] > LEAST:
                taken.append(at)
                kernel, tells = _without(kernel, tells, at)
    return torch.tensor(taken, dtype=torch.long)


def _without(kernel: Tensor, tells: Tensor, at: int) -> tuple[Tensor, Tensor]:
    """What is still uncertain, and told, once one of the pool is known."""
    scale = kernel[at, at].sqrt()
    row = kernel[at] / scale
    return kernel - row[:, None] * row, tells - (tells[:, at] / scale)[:, None] * row


def _gain(kernel: Tensor, tells: Tensor) -> Tensor:
    """(M,) how much less uncertain the values are with each of the pool; -1 for what is known."""
    own = kernel.diagonal()
    return torch.where(own > LEAST, tells.square().sum(0) / own.clamp(min=LEAST), -1)


def _both(kernel: Tensor, tells: Tensor) -> Tensor:
    """(M / 2,) the same of each of the pool's first half and its mate in the other, together."""
    own, half = kernel.diagonal(), len(kernel) // 2
    one, two, both = own[:half], own[half:], kernel.diagonal(half)
    first, second = tells[:, :half], tells[:, half:]
    told = first.square().sum(0) * two - 2 * both * (first * second).sum(0)
    told = told + second.square().sum(0) * one
    space = one * two - both.square()
    usable = (one > LEAST) & (two > LEAST) & (space > LEAST * LEAST)
    return torch.where(usable, told / space.clamp(min=LEAST * LEAST), -1)


def _told(pool: Tensor, have: Tensor) -> tuple[Tensor, Tensor]:
    """Covariances (M, M) of a pool's differences, (n, M) with the values, given what is there."""
    every_one = torch.cat([have, pool])
    rho = kriging.even(pool.shape[1])
    kernel = kriging.kernel(every_one, rho)[0] + LINEAR * every_one @ every_one.T
    tells = kriging.crossed(every_one, rho)[0] + 2 * LINEAR * every_one.T
    old = len(have)
    root = torch.linalg.cholesky(kernel[:old, :old] + LEAST * torch.eye(old).to(kernel))
    known = torch.cholesky_solve(kernel[:old, old:], root)
    return (
        kernel[old:, old:] - kernel[old:, :old] @ known,
        tells[:, old:] - tells[:, :old] @ known,
    )


def signs_of(coalitions: Tensor) -> Tensor:
    """(P, n) float64: 1 for who is in and -1 for who is not."""
    return coalitions.double() * 2 - 1


def with_all(coalitions: Tensor) -> Tensor:
    """(P + 1, n): the same coalitions and that of all."""
    return torch.cat([coalitions, coalitions.new_ones(1, coalitions.shape[1])])


@lru_cache(maxsize=512)
def balanced(players: int, pairs: int, seed: int) -> Tensor:
    """(P, n) bool: one of each of `pairs` pairs, of up to half of the players.

    There are as many of every size, as far as there are as many; of a size, those are taken that
    tell the most.
    """
    left = _allotted(players, pairs)
    generator = torch.Generator().manual_seed(hash((players, pairs, seed)) % 2**63)
    pool = torch.cat(
        [
            torch.rand(max(POOL, 4 * count), players, generator=generator).argsort(1).argsort(1)
            < size
            for size, count in left.items()
        ]
    )
    kernel, tells = _told(signs_of(pool), signs_of(with_all(pool[:0])))
    size = pool.sum(1)
    taken: list[int] = []
    for _ in range(sum(left.values())):
        wanted = torch.tensor([left[int(each)] > 0 for each in size])
        at = int(torch.where(wanted, _gain(kernel, tells), -1).argmax())
        taken.append(at)
        left[int(size[at])] -= 1
        kernel, tells = _without(kernel, tells, at)
    return pool[torch.tensor(taken)]


def _allotted(players: int, pairs: int) -> dict[int, int]:
    """How many pairs of each size, 1 to n / 2: as many of each as there are, up to a level.

    Of n / 2, which counts for itself alone and not for n - n / 2 too, half as many.
    """
    half = players / 2
    most = {s: comb(players, s) // (2 if s == half else 1) for s in range(1, players // 2 + 1)}
    found = dict.fromkeys(most, 0)
    for turn in range(2 * pairs):
        for size in reversed(most):
            spare = size == half and turn % 2 and len(most) > 1
            if found[size] < most[size] and not spare and sum(found.values()) < pairs:
                found[size] += 1
    return found
