"""What a model would have recommended after each layer, and from which on it is what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Decoded:
    """For B users, T depths (0 before any layer, T - 1 after the last) and K items.

    order (B, T, K) int64: places among the K items, best first, and last those that are none.
    rank (B, T) int64: of the first item, from 1.
    depth (B,) int64: the first depth from which on the best item is that of the last.
    """

    order: Tensor
    rank: Tensor
    depth: Tensor

    @classmethod
    def of(cls, said: Sequence[Tensor], real: Tensor) -> Decoded:
        """From what the model says (B, K) at each depth, of the items that are real (B, K) bool.

        Of items that it says the same of, the one that stands first comes first. After "the logit
        lens" (nostalgebraist, 2020).
        """
        scores = torch.stack(list(said), dim=1).masked_fill(~real[:, None], -torch.inf)
        order = scores.argsort(dim=2, descending=True, stable=True)
        rank = 1 + (order == 0).long().argmax(2)
        agreed = order[..., 0] == order[:, -1:, 0]
        lasting = agreed.flip(1).cumprod(1).sum(1)
        return cls(order, rank, agreed.shape[1] - lasting)
