"""Splitting each user's events: the last is the test, the one before validates.

They are in the order of time, or in one that is drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from xrec.data.features import Vocabulary


@dataclass(frozen=True)
class Events:
    """Every event, sorted by user and time, as tensors; user u has rows start[u] : start[u + 1].

    Where the split is at random, a user's events are in a random order instead, and times may be
    unknown: 0.

    item, time, action (E,) int64; value (E,) float, NaN where there is none; start (U + 2,) int64,
    where row 0 of users is padding.
    """

    item: Tensor
    time: Tensor
    action: Tensor
    value: Tensor
    start: Tensor

    @classmethod
    def of(
        cls,
        interactions: pl.DataFrame,
        users: Vocabulary,
        items: Vocabulary,
        actions: Vocabulary,
        seed: int | None = None,
    ) -> Events:
        """Sort interactions by user and time; events of the same second keep the file's order.

        With a seed each user's events are shuffled instead, as it says.
        """
        coded = interactions.select(
            pl.col("user").replace_strict(_codes(users), return_dtype=pl.Int64),
            pl.col("item").replace_strict(_codes(items), return_dtype=pl.Int64),
            pl.col("time").fill_null(0),
            pl.col("action").replace_strict(_codes(actions), default=0, return_dtype=pl.Int64),
            pl.col("value").cast(pl.Float32).fill_null(float("nan")),
        )
        if seed is None:
            coded = coded.sort("user", "time", maintain_order=True)
        else:
            order = np.random.default_rng(seed).permutation(len(coded))
            coded = coded[order].sort("user", maintain_order=True)
        user, item, time, action, value = (
            torch.tensor(column.to_numpy().copy()) for column in coded
        )
        counts = torch.bincount(user, minlength=len(users))
        start = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
        return cls(item, time, action, value, start)

    def among(self, users: Tensor) -> tuple[Events, Tensor]:
        """The events of some users (B,), who are 1 to B then; and which rows (M,) of all they are.

        The order of each user's events stays.
        """
        rows = torch.cat([torch.arange(*self.span(user)) for user in users.tolist()])
        counts = self.start[users + 1] - self.start[users]
        start = torch.cat([torch.zeros(2, dtype=torch.long), counts.cumsum(0)])
        item, time, action, value = (
            column[rows] for column in (self.item, self.time, self.action, self.value)
        )
        return Events(item, time, action, value, start), rows

    def span(self, user: int) -> tuple[int, int]:
        """The rows of one user: from, to."""
        return int(self.start[user]), int(self.start[user + 1])


def _codes(vocabulary: Vocabulary) -> dict[str, int]:
    return {name: at for at, name in enumerate(vocabulary.ids) if at}


#: Events at the end of each history that a stage must not see: leave-last-out.
HELD_OUT = {"train": 2, "validate": 1, "test": 0}
