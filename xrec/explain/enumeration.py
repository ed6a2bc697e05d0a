"""Exact Shapley values, by all coalitions."""

from __future__ import annotations

from functools import lru_cache
from math import comb

import torch
from torch import Tensor

from xrec.explain.coalitions import Seats, every
from xrec.explain.game import Game
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

AT_ONCE = 2**18  # coalitions laid out at once


def enumerated(
    model: Recommender, inputs: Inputs, target: Target, absent: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Values (B, F), score (B,) and base (B,) in float64, by the 2^n coalitions of n players each.

    Rows may have different numbers of players. Shapley, 1953.
    """
    values = torch.zeros(inputs.present.shape, dtype=torch.double, device=inputs.values.device)
    score, base = values.new_zeros(len(inputs)), values.new_zeros(len(inputs))
    seats = Seats.of(inputs)
    for group in seats.alike():
        players = int(seats.count[group[0]])
        coalitions = every(players).to(values.device)
        for rows in group.split(max(1, AT_ONCE // len(coalitions))):
            game = Game(model, inputs.rows(rows), target, absent)
            mine = seats.rows(rows)
            worth = game.value(mine.laid(coalitions)).double()
            score[rows], base[rows] = worth[:, -1], worth[:, 0]
            if players:
                values[rows] = mine.told(worth @ _shares(players).to(worth).T)
    return values, score, base


@lru_cache(maxsize=32)
def _shares(players: int) -> Tensor:
    """(n, 2^n) float64: the share of each coalition's worth in each player's value.

    A coalition of s players counts 1 / (s C(n, s)) for those who are in it, and against the others
    1 / ((n - s) C(n, s)).
    """
    inside = every(players)
    n = players
    joined = [0.0, *(1 / (s * comb(n, s)) for s in range(1, n + 1))]
    missed = [*(-1 / ((n - s) * comb(n, s)) for s in range(n)), 0.0]
    size = inside.sum(1)
    both = torch.tensor([missed, joined], dtype=torch.double)
    return both[inside.T.long(), size]
