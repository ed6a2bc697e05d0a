"""What explanations are of, and what they are judged by: recommendations to some users."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.features import ITEM
from xrec.data.module import Data
from xrec.explain.baseline import Background
from xrec.explain.target import Target
from xrec.fidelity.ledger import Ledger
from xrec.fidelity.truth import Analytic, Planted, laid_out, taken_up
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

BACKGROUND = 64  # users whose vectors are averaged where features are replaced by a mean


@dataclass(frozen=True)
class Subject:
    """Recommendations to B users, of which explanations are asked, and what these are judged by.

    table: user, item and title of each. inputs: with the items that come next as rivals. seen
    (B, N + 1) bool, optional: the items that are not ranked. dataset: the plugin. of_score: whether
    the target is what the dataset's plant is about.
    """

    model: Recommender
    data: Data
    target: Target
    table: pl.DataFrame
    batch: Batch
    inputs: Inputs
    seen: Tensor | None
    dataset: Any
    of_score: bool

    def __len__(self) -> int:
        return len(self.batch)

    @cached_property
    def truth(self) -> Tensor | None:
        """(B, F) what was planted for each slot, NaN where nothing is known; None without a plant.

        Of a model whose contributions are known in closed form it is these.
        """
        if not self.of_score:
            return None
        if isinstance(self.model, Analytic):
            players = self.inputs.players
            return torch.where(players, self.model.contributions(self.inputs), torch.nan)
        if isinstance(self.dataset, Planted):
            return laid_out(self.dataset.truth(self.data, self.batch), self.inputs)
        return None

    @cached_property
    def taken_up(self) -> float | None:
        """The share of recommendations in which the model uses the plant, if there is one."""
        if self.truth is None:
            return None
        return taken_up(self.ledger.game(self.target, "remove"), self.truth)

    @cached_property
    def everyone(self) -> Tensor | None:
        """(B, N) the items that each is ranked among, 0 where fewer; None: `inputs.rivals`.

        The whole catalogue, where a model reads a user once for all items.
        """
        if ITEM not in self.model.apart:
            return None
        items = torch.arange(1, len(self.data.items)).expand(len(self), -1)
        out = items == self.batch.candidate[:, None]
        if self.seen is not None:
            out = out | self.seen[:, 1:]
        return torch.where(out, 0, items)

    @cached_property
    def ledger(self) -> Ledger:
        """What all who judge explanations of these share; absent features by the protocol's way."""
        return Ledger(self.model, self.inputs, self.everyone)

    @cached_property
    def averaging(self) -> Ledger:
        """The same, with the mean vector of a feature's group in its place under "baseline"."""
        background = Background.of(self.model, self.data, BACKGROUND, seed=0)
        return Ledger(self.model, self.inputs, self.everyone, background.mean(self.inputs))

    @property
    def events(self) -> Tensor:
        """(B,) the events of each user's history."""
        return (self.batch.history > 0).sum(1)

    @property
    def popularity(self) -> Tensor:
        """(B,) how often each item was had in training."""
        return self.data.counts[self.batch.candidate]
