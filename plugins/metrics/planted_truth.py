"""Planted truth: whether an explanation names the features that did cause the event."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy import stats
from torch import Tensor

from xrec import hookimpl
from xrec.fidelity.metric import Case
from xrec.fidelity.truth import causes


@dataclass(frozen=True)
class PlantedTruth:
    """Agreement with the planted contributions, among the slots of which the plant tells.

    planted_precision: of the k features with the largest contributions by size, the share that is
    among the k planted ones; k is at most the number of planted causes that the row has.
    planted_rank: Spearman's correlation of the contributions with the planted ones.

    Options: k. Pitfall: it judges model and explainer together; see `taken_up` for the model's
    part.
    """

    measures: ClassVar[Mapping[str, str]] = {
        "planted_precision": "higher",
        "planted_rank": "higher",
    }
    k: int = 5

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k is {self.k}, it must be at least 1")

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) each; nothing where the data have no planted truth."""
        if case.truth is None:
            return {}
        told = torch.where(case.truth.isnan(), torch.nan, case.explanation.summed().values)
        return {
            "planted_precision": self._precision(told, case.truth),
            "planted_rank": _rank_correlation(told, case.truth),
        }

    def _precision(self, told: Tensor, truth: Tensor) -> Tensor:
        cause = causes(truth, self.k)
        size = told.abs().nan_to_num(-1)
        place = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        named = place < cause.sum(1, keepdim=True)
        return (named & cause).sum(1) / cause.sum(1)  # NaN for a row without a cause


def _rank_correlation(told: Tensor, truth: Tensor) -> Tensor:
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)  # gives NaN, which is meant
        for mine, real in zip(told, truth, strict=True):
            known = ~real.isnan()
            pair = (mine[known].cpu().numpy(), real[known].cpu().numpy())
            found.append(float(stats.spearmanr(*pair).statistic) if known.sum() > 1 else torch.nan)
    return torch.tensor(found)


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer planted truth."""
    return {"planted_truth": PlantedTruth}
