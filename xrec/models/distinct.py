"""Which of many masked rows are the same."""

from __future__ import annotations

import torch
from torch import Tensor

WORD = 40  # slots packed into a number, beside which the number of a row has room


def distinct(row: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the distinct pairs of a row (N,) int64 ≥ 0 and what is in it (N, F) bool.

    Also (N,): which of them each pair is. They come in the order of row and slots, so that those
    which share their first slots are neighbours.
    """
    words = [_packed(part) for part in inside.split(WORD, dim=1)]
    if len(words) == 1 and int(row.max()) < 2 ** (63 - WORD):
        _, where = torch.unique(words[0] + (row << inside.shape[1]), return_inverse=True)
    else:
        _, where = torch.unique(torch.stack([row, *words], dim=1), dim=0, return_inverse=True)
    first = torch.full((int(where.max()) + 1,), len(where), device=where.device)
    first.scatter_reduce_(0, where, torch.arange(len(where), device=where.device), "amin")
    return first, where


def _packed(inside: Tensor) -> Tensor:
    """(N,) int64: the bits of (N, F), F up to `WORD`; the first slot is the top bit."""
    place = torch.arange(inside.shape[1] - 1, -1, -1, device=inside.device)
    return (inside.long() << place).sum(1)
