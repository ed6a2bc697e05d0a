"""Removal curves: the value as features are taken away, or added, in an explanation's order."""

from __future__ import annotations

import torch
from torch import Tensor

from xrec.explain.game import Game


def places(values: Tensor, players: Tensor) -> Tensor:
    """(B, F) int64: the place of each player in the order of values (B, F), highest first, from 0.

    Ties go to the lower slot; slots that are no players come last.
    """
    order = torch.where(players, values, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1)


def moved(game: Game, values: Tensor, players: Tensor, taken: Tensor, insert: bool) -> Tensor:
    """(B, S): the game's value once the first `taken` (B, S) of some players (B, F) are moved.

    Players come in the order of values (B, F). They are moved out, where all were in; or, with
    `insert`, in, where all were out. Features that are not among them stay in throughout.
    """
    first = places(values, players)[:, None, :] < taken[..., None]
    return game.value(first | ~players[:, None] if insert else ~first)


def removal_curve(game: Game, values: Tensor, players: Tensor, points: int, insert: bool) -> Tensor:
    """(B, points + 1): the value after each of `points` equal steps of `moved`, the start included.

    After step j, round(j · n / points) of a row's n players are out (or, with `insert`, in).
    """
    step = torch.arange(points + 1, device=values.device)
    taken = (step * players.sum(1, keepdim=True) / points).round()
    return moved(game, values, players, taken, insert)


def area(curve: Tensor, insert: bool) -> Tensor:
    """(B,) the area between a curve (B, points + 1) and its end without any of the players.

    Over the share of players. That end is the curve's last, or, with `insert`, its first.
    """
    base = curve[:, :1] if insert else curve[:, -1:]
    return torch.trapezoid(curve - base, dim=1) / (curve.shape[1] - 1)
