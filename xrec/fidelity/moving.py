"""Which features a metric moves, and how many of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xrec.errors import nearest
from xrec.fidelity.curve import moved
from xrec.fidelity.metric import Case

OF = ("user", "all")
SLACK = 1e-9  # by which a product of a share is too high for its rounding alone, as 0.07 · 100 is


def check_of(of: str) -> None:
    """Raise ValueError if there is no such set of features."""
    if of not in OF:
        raise ValueError(f"of is '{of}': {nearest(of, OF)}")


def check_shares(shares: Sequence[float]) -> None:
    """Raise ValueError unless shares are above 0 and at most 1, and there is one at least."""
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ValueError(f"shares is {list(shares)}, it must list some, above 0 and at most 1")


def moving(case: Case, of: str) -> Tensor:
    """(B, F) bool: the players that are moved: the user's, or all."""
    return case.of_user if of == "user" else case.inputs.players


def counted(shares: Sequence[float], players: Tensor) -> Tensor:
    """(B, S) int64: how many of a row's players (B, F) each share is, rounded up."""
    share = torch.tensor(shares, dtype=torch.double, device=players.device)
    return (share * players.sum(1, keepdim=True) - SLACK).ceil().long()


def judgeable(scores: Tensor, players: Tensor) -> Tensor:
    """Scores (B,), NaN for rows without any of the players (B, F)."""
    return torch.where(players.any(1), scores, torch.nan)


def fall(case: Case, shares: Sequence[float], of: str, insert: bool) -> Tensor:
    """(B,) how far the target falls without the first features of an explanation, in its units.

    With `insert`, with these alone. The mean over shares of the features; NaN without any to move.
    """
    game, players = case.game(), moving(case, of)
    taken = counted(shares, players)
    left = moved(game, case.explanation.values, players, taken, insert)
    return judgeable(game.everything() - left.mean(1), players)
