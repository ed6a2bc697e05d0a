"""Removal curves: the value as features are taken away, or added, in an explanation's order."""

from __future__ import annotations

import torch
from torch import Tensor

from xrec.explain.game import Game


def removal_curve(
    game: Game, values: Tensor, points: int, insert: bool, among: Tensor | None = None
) -> Tensor:
    """(B, points + 1): the game's value after each of `points` equal steps, the start included.

    Features come in order of their value (B, F), highest first; ties go to the lower slot. After
    step j, round(j · n / points) of a row's n features are out (or, with `insert`, in).

    among (B, F) bool, optional: the players that come and go, where others stay throughout.
    """
    players = game.inputs.players if among is None else among
    order = torch.where(players, values, -torch.inf).argsort(dim=1, descending=True, stable=True)
    place = order.argsort(dim=1)
    step = torch.arange(points + 1, device=values.device)
    taken = (step * players.sum(1, keepdim=True) / points).round()
    moved = place[:, None, :] < taken[..., None]
    inside = moved | ~players[:, None] if insert else ~moved
    return game.value(inside)


def area(curve: Tensor, base: Tensor) -> Tensor:
    """(B,) area between a curve (B, points + 1) and the base (B,), over the share of features."""
    return torch.trapezoid(curve - base[:, None], dim=1) / (curve.shape[1] - 1)
