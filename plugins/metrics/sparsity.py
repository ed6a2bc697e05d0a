"""Sparsity: whether few features have most of the credit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xrec import hookimpl
from xrec.fidelity.metric import Case


@dataclass(frozen=True)
class Sparsity:
    """The Gini index of the sizes of the contributions (Chalasani et al., 2020).

    Over the features of a row: 0 where all are of one size, as where all are nothing, and 1 - 1/n
    where one of n has everything.

    Pitfalls: it asks neither the model nor the plant: sparse is not faithful, and one feature drawn
    at random is as sparse as can be; a row of few features cannot be as sparse as one of many.
    """

    plays: ClassVar[bool] = False
    measures: ClassVar[Mapping[str, str]] = {"sparsity": "higher"}
    sees: ClassVar[Mapping[str, Collection[str]]] = {"sparsity": ("constant",)}

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) indices from 0 to 1, NaN without a feature."""
        players = case.inputs.players
        count = players.sum(1, keepdim=True)
        size = torch.where(players, case.explanation.values.double().abs(), 0)
        # Slots that are no players are zeros that come before all others, and have no rank.
        rank = torch.arange(1, size.shape[1] + 1, device=size.device) - (size.shape[1] - count)
        weighted = ((2 * rank - count - 1) * size.sort(dim=1).values).sum(1)
        total = size.sum(1)
        index = torch.where(total > 0, weighted / (count[:, 0] * total), 0)
        return {"sparsity": torch.where(count[:, 0] > 0, index, torch.nan)}


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer sparsity."""
    return {"sparsity": Sparsity}
