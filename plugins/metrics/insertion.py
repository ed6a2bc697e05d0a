"""Insertion: how fast the score rises as the features said to matter most are brought in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xrec import hookimpl
from xrec.fidelity.curve import area, removal_curve
from xrec.fidelity.metric import Case
from xrec.fidelity.moving import check_of, judgeable, moving


@dataclass(frozen=True)
class Insertion:
    """Area under the insertion curve, in logits above its start (Petsiuk et al., 2018).

    The twin of deletion: from none of the features up, those that raise the score most by the
    explanation's word first.

    Options: of, whose features come in: the user's, while the item's own are there throughout, or
    all. Nothing is recommended before its own features are there: where they must come in too,
    the area tells little beside how early they do.

    Pitfalls: a model has seldom met as few features as there are at the start, so take it under two
    removal operators; only the order counts, not how much.
    """

    measures: ClassVar[Mapping[str, str]] = {"insertion": "higher"}
    sees: ClassVar[Mapping[str, Collection[str]]] = {
        "insertion": ("shuffled", "constant", "flipped", "stale", "jittery", "deaf")
    }
    of: str = "user"

    def __post_init__(self) -> None:
        check_of(self.of)

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) areas, NaN without a feature to bring in."""
        players = moving(case, self.of)
        values, points = case.explanation.values, case.points
        curve = removal_curve(case.game(), values, players, points, insert=True)
        return {"insertion": judgeable(area(curve, insert=True), players)}


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer insertion."""
    return {"insertion": Insertion}
