"""Planted truth: whether an explanation names the features that did cause the event."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xrec import hookimpl
from xrec.fidelity.correlation import settled, spearman
from xrec.fidelity.metric import Case
from xrec.fidelity.truth import causes, material


@dataclass(frozen=True)
class PlantedTruth:
    """Agreement with the planted contributions, among the slots of which the plant tells.

    planted_precision: of the k features with the largest contributions by size, the share that is
    among the k planted ones; k is at most the number of planted causes that the row has.
    planted_rank: Spearman's correlation of the contributions with the planted ones.
    planted_recall: of the planted causes that matter, those with at least a tenth of the row's
    largest contribution, the share among the features with the largest contributions by size, as
    many as `among` says.
    planted_mass: the share of the contributions' sizes that lies on the planted causes that matter
    (relevance mass accuracy: Arras et al., 2022); 0 where all contributions are 0.

    Options: k, among.

    Pitfalls: it judges model and explainer together; see `taken_up` for the model's part. All but
    the rank go by size and see no sign; the rank of an explanation that says the same of all
    features is not defined. Recall is 1 for every explanation of a row that has no more features
    than `among`, and mass favours those that say much of few. The rank counts the features that do
    next to nothing as much as those that do most.
    """

    plays: ClassVar[bool] = False
    measures: ClassVar[Mapping[str, str]] = {
        "planted_precision": "higher",
        "planted_rank": "higher",
        "planted_recall": "higher",
        "planted_mass": "higher",
    }
    sees: ClassVar[Mapping[str, Collection[str]]] = {
        "planted_precision": ("shuffled", "constant", "stale", "jittery", "deaf"),
        "planted_rank": ("shuffled", "flipped", "stale", "jittery", "deaf"),
        "planted_recall": ("shuffled", "constant", "stale", "jittery", "deaf"),
        "planted_mass": ("shuffled", "constant", "leaking", "stale", "jittery", "deaf"),
    }
    k: int = 5
    among: int = 10

    def __post_init__(self) -> None:
        for name in ("k", "among"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) each, NaN for rows without a cause; nothing where the data have no planted truth."""
        if case.truth is None:
            return {}
        told = torch.where(case.truth.isnan(), torch.nan, case.explanation.summed().values)
        size = told.abs().nan_to_num(-1)
        place = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        cause, matter = causes(case.truth, self.k), material(case.truth)
        return {
            "planted_precision": _share(place < cause.sum(1, keepdim=True), cause),
            "planted_rank": spearman(settled(told.nan_to_num()), case.truth, ~case.truth.isnan()),
            "planted_recall": _share(place < self.among, matter),
            "planted_mass": _mass(size.clamp(min=0), matter),
        }


def _share(named: Tensor, cause: Tensor) -> Tensor:
    """(B,) the share of causes that are named, NaN for a row without a cause."""
    return (named & cause).sum(1) / cause.sum(1)


def _mass(size: Tensor, cause: Tensor) -> Tensor:
    whole = size.sum(1)
    share = torch.where(whole > 0, (size * cause).sum(1) / whole, 0)
    return torch.where(cause.any(1), share, torch.nan)


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer planted truth."""
    return {"planted_truth": PlantedTruth}
