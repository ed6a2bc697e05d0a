"""Training interactions: the terms that a training loss is a sum of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.module import Data

DRAWN = 256  # rows that negatives are drawn for at once


@dataclass(frozen=True)
class Interactions:
    """M training interactions, of all that a model learned from.

    One is a term of the training loss: a user, the item that was next, and what came before it in
    the window that it is learned from. What it does as a part of later histories is not of it.

    windows: M training windows that end with their event; that event alone is `learned`, beside
        `negatives` that a seed fixed.
    drawn: how many of them, the first, are a uniform draw from all; the rest are users' own.
    total: how many there are in training.
    """

    windows: Batch
    drawn: int
    total: int

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def user(self) -> Tensor:
        """(M,) int64 index of whose interaction it is."""
        return self.windows.user

    @property
    def item(self) -> Tensor:
        """(M,) int64 index of the item."""
        return self.windows.history[:, -1]

    @property
    def time(self) -> Tensor:
        """(M,) int64 seconds since 1970; 0 where it is not known."""
        return self.windows.history_time[:, -1]

    @classmethod
    def of(cls, data: Data, users: Tensor, count: int, seed: int) -> Interactions:
        """`count` interactions drawn from all by the seed, and then all others of some users.

        users (…,) int64. Fewer are drawn where training has fewer.
        """
        whole = data.windows()
        assert whole.learned is not None
        window, at = whole.learned.nonzero(as_tuple=True)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(window), generator=generator)
        drawn, left = order[:count], order[count:].sort().values
        chosen = torch.cat([drawn, left[torch.isin(whole.user[window[left]], users)]])
        ending = whole.rows(window[chosen]).ending(at[chosen])
        last = torch.zeros_like(ending.history, dtype=torch.bool)
        last[:, -1] = True
        negatives = torch.cat(
            [data.negatives(some, generator) for some in ending.user.split(DRAWN)]
        )
        windows = replace(ending, learned=last, negatives=negatives)
        return cls(windows, len(drawn), len(window))

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """User, item and time of each."""
        return zip(self.user.tolist(), self.item.tolist(), self.time.tolist(), strict=True)
