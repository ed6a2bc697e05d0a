"""The units that are protected, and batches of those that Poisson sampling draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec_plugins.privacy.draws import Draws

LEVELS = ("user", "example")


class Units:
    """The training windows of each of n units: of a user, or at level "example" a window alone.

    most: the windows of a unit that a step sees, drawn anew each time; 0: all.
    """

    def __init__(self, data: Data, level: str, most: int = 0) -> None:
        self.data, self.level, self.most = data, level, most
        self.windows = data.windows()
        self.start = np.concatenate([[0], np.cumsum(sizes(self.windows, level).numpy())])

    def __len__(self) -> int:
        return len(self.start) - 1

    def drawn(self, rate: float, draws: Draws) -> Batch:
        """The windows of units of which each is there with the chance `rate`, with negatives."""
        chosen = np.flatnonzero(draws.uniform(len(self)) < rate)
        rows = [self._rows(unit, draws) for unit in chosen.tolist()]
        index = torch.from_numpy(np.concatenate([*rows, np.empty(0, dtype=np.int64)]))
        batch = self.windows.rows(index)
        generator = torch.Generator().manual_seed(draws.seed())
        if not len(batch):
            return replace(batch, negatives=batch.history.new_zeros(0, self.data.train.negatives))
        return replace(batch, negatives=self.data.negatives(batch.user, generator))

    def counts(self) -> Tensor:
        """(N + 1,) float64: how often units had each item, of whom each adds a vector of length 1.

        What a unit had is in it once, by 1 over the root of how many items that are.
        """
        learned = self.windows.learned
        assert learned is not None
        total = torch.zeros(len(self.data.items), dtype=torch.double)
        for begin, end in pairwise(self.start.tolist()):
            had = self.windows.history[begin:end][learned[begin:end]].unique()
            total[had] += len(had) ** -0.5
        return total

    def _rows(self, unit: int, draws: Draws) -> np.ndarray:
        rows = np.arange(self.start[unit], self.start[unit + 1])
        if not self.most or len(rows) <= self.most:
            return rows
        return np.sort(rows[draws.uniform(len(rows)).argsort()[: self.most]])


def sizes(batch: Batch, level: str) -> Tensor:
    """(U,) the rows of each unit of a batch, in which they follow each other."""
    if level == "example":
        return torch.ones(len(batch), dtype=torch.long)
    return torch.unique_consecutive(batch.user.cpu(), return_counts=True)[1]


class Drawn:
    """An epoch of batches that are drawn as they are asked for, by the contract of `xrec_batches`.

    first: the number, in the whole training, of its first step. draws: those of a step's number.
    """

    def __init__(
        self, units: Units, rate: float, first: int, length: int, draws: Callable[[int], Draws]
    ) -> None:
        self.units, self.rate, self.first, self.length = units, rate, first, length
        self.draws = draws
        self.served = self._before = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        self.served, self._before = self._before, 0
        while self.served < self.length:
            batch = self.units.drawn(self.rate, self.draws(self.first + self.served))
            self.served += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """How many batches were served. What is drawn next is nowhere written."""
        return {"served": self.served}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Serve, the next time only, as many batches less."""
        self._before = state["served"]
