"""Completeness: whether the contributions add up to the score."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xrec import hookimpl
from xrec.fidelity.metric import Case


@dataclass(frozen=True)
class Completeness:
    """The gap |sum of contributions - (score - base)|, in logits (Sundararajan et al., 2017).

    Score and base are those the explainer named. Pitfall: a complete explanation may still give
    the credit to the wrong features.
    """

    plays: ClassVar[bool] = False
    measures: ClassVar[Mapping[str, str]] = {"completeness_gap": "lower"}
    sees: ClassVar[Mapping[str, Collection[str]]] = {
        "completeness_gap": ("flipped", "scaled", "stale", "jittery", "deaf")
    }

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) gaps."""
        told = case.explanation
        return {"completeness_gap": (told.values.sum(1) - (told.score - told.base)).abs()}


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer completeness."""
    return {"completeness": Completeness}
