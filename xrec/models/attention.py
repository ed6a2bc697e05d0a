"""Attention among some of a model's slots, as attention among all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def among(slots: int, start: int, attention: Tensor) -> Tensor:
    """(B, H, F, F) of F slots, those from `start` on looking as attention (B, H, S, T) says.

    The others look at themselves alone.
    """
    full = torch.eye(slots, device=attention.device).repeat(*attention.shape[:2], 1, 1)
    rows, columns = (slice(start, start + size) for size in attention.shape[2:])
    full[..., rows, columns] = attention
    return full


@dataclass(frozen=True)
class Watched:
    """The attention of one reading, as the score was made of it, so that gradients reach it.

    maps: each layer's, (B, H, S, S), among the S slots from `start` on, of F = `slots`.
    """

    maps: Sequence[Tensor]
    start: int
    slots: int
