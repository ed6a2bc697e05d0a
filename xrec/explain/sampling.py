"""Shapley values of many rows at once, each by as many coalitions as the error asked for takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xrec.errors import XrecError
from xrec.explain.coalitions import Seats, chosen, pairs_by, signs_of, with_all
from xrec.explain.enumeration import enumerated
from xrec.explain.game import Game
from xrec.explain.kriging import kriged
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class Sampling:
    """How much is asked: `evaluations` of a row at most, until its relative error is `error`.

    The relative error is that which is estimated, the length of a row's standard errors over that
    of its values. absent: what becomes of a player outside the coalition.
    """

    evaluations: int
    error: float
    absent: str = "remove"
    seed: int = 0


@dataclass(frozen=True)
class Sampled:
    """Values and their standard errors (B, F), score and base (B,), in float64."""

    values: Tensor
    deviation: Tensor
    score: Tensor
    base: Tensor

    @classmethod
    def empty(cls, inputs: Inputs) -> Sampled:
        """Zeros, to be filled."""
        values = torch.zeros(inputs.present.shape, dtype=torch.double, device=inputs.values.device)
        one = values.new_zeros(len(inputs))
        return cls(values, values.clone(), one, one.clone())


def sampled(model: Recommender, inputs: Inputs, target: Target, how: Sampling) -> Sampled:
    """Shapley values of rows that may have different numbers of players.

    A row is enumerated where the next round would be half of its coalitions, and it may ask of all
    of them. Raises XrecError where a row has too many players for `evaluations`.
    """
    whole = Sampled.empty(inputs)
    seats = Seats.of(inputs, model.apart)
    most = (how.evaluations - 2) // 2
    many = int(seats.count.max())
    if most <= many and 2**many > how.evaluations:
        raise XrecError(
            f"a row has {many} features, and {how.evaluations} evaluations are too few to tell "
            f"them apart: make it {2 * many + 4} or more"
        )
    for rows in seats.alike():
        players = int(seats.count[rows[0]])
        if 2**players <= how.evaluations and (not how.error or most <= players):
            _enumerate(whole, rows, model, inputs, target, how)
        else:
            limit = min(most, 2 ** max(0, players - 1) - 1)
            _Rounds(whole, rows, seats.rows(rows), how, limit).run(model, inputs, target)
    return whole


def _few(pairs: int, players: int) -> bool:
    """Whether so many pairs are half of all that there are, or more."""
    return 2 * pairs + 2 >= 2 ** (players - 1)


def _enumerate(
    whole: Sampled, rows: Tensor, model: Recommender, inputs: Inputs, target: Target, how: Sampling
) -> None:
    found = enumerated(model, inputs.rows(rows), target, how.absent)
    whole.values[rows], whole.score[rows], whole.base[rows] = found
    whole.deviation[rows] = 0


@dataclass
class _Rounds:
    """Rows of as many players each, asked of round after round until they are done."""

    whole: Sampled
    rows: Tensor
    seats: Seats
    how: Sampling
    most: int

    def run(self, model: Recommender, inputs: Inputs, target: Target) -> None:
        """Fill `whole` in for the rows."""
        players, apart = int(self.seats.count[0]), int(self.seats.apart[0])
        known = self.whole.score.new_zeros(len(self.rows), 0)
        turn = 0 if self.how.error else self._last(players)
        while len(self.rows):
            left = self.how.evaluations - 2 * known.shape[1]
            if 2**players <= left and _few(pairs_by(turn, players), players):
                _enumerate(self.whole, self.rows, model, inputs, target, self.how)
                return
            asked = chosen(turn, players, apart, self.how.seed)[: self.most]
            asked = asked.to(inputs.values.device)
            game = Game(model, inputs.rows(self.rows), target, self.how.absent)
            ended = len(asked) in (self.most, known.shape[1] - 1)
            known = torch.cat([known, self._differences(game, asked, known.shape[1])], dim=1)
            open_ = self._solve(asked, known, ended)
            self.rows, self.seats, known = self.rows[open_], self.seats.rows(open_), known[open_]
            turn += 1

    def _last(self, players: int) -> int:
        """The round in which the budget ends."""
        turn = 0
        while pairs_by(turn, players) < self.most:
            turn += 1
        return turn

    def _differences(self, game: Game, asked: Tensor, done: int) -> Tensor:
        """(B, m) half of what a coalition is worth more than its complement, for the new ones.

        In the first round, that of all comes first.
        """
        new = asked[max(0, done - 1) :]
        if not done:
            new = torch.cat([new.new_ones(1, new.shape[1]), new])
        worth = game.value(self.seats.laid(torch.cat([new, ~new]))).double()
        one, other = worth.chunk(2, dim=1)
        if not done:
            self.whole.score[self.rows], self.whole.base[self.rows] = one[:, 0], other[:, 0]
        return (one - other) / 2

    def _solve(self, asked: Tensor, known: Tensor, ended: bool) -> Tensor:
        """Keep what is found for the rows that are done; returns the places of the others."""
        signs = signs_of(with_all(asked))
        found = kriged(signs, torch.cat([known[:, 1:], known[:, :1]], dim=1))
        error, size = found.deviation.norm(dim=1), found.values.norm(dim=1)
        done = (error <= self.how.error * size) | ended
        rows, seats = self.rows[done], self.seats.rows(done)
        self.whole.values[rows] = seats.told(found.values[done])
        self.whole.deviation[rows] = seats.told(found.deviation[done])
        return (~done).nonzero()[:, 0]
