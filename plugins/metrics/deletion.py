"""Deletion: how fast the score falls as the features said to matter most are taken away."""

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
class Deletion:
    """Area under the deletion curve, in logits above its end (Petsiuk et al., 2018).

    Logits, not probabilities, which saturate; a difference, not a ratio. The features that raise
    the score most by the explanation's word go first.

    Options: of, whose features go: the user's, while the item's own stay, or all. Without its own
    features an item is not recommended at all: where they may go, the explanation that keeps them
    for the last, giving them nothing, has the best of all areas, below zero.

    Pitfalls: what is left of the features is often unlike anything the model was trained on, so
    take it under two removal operators; only the order counts, not how much; and an order that was
    sought by deleting is the best without explaining.
    """

    measures: ClassVar[Mapping[str, str]] = {"deletion": "lower"}
    sees: ClassVar[Mapping[str, Collection[str]]] = {
        "deletion": ("shuffled", "constant", "flipped", "stale", "jittery", "deaf")
    }
    of: str = "user"

    def __post_init__(self) -> None:
        check_of(self.of)

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) areas, NaN without a feature to take away."""
        players = moving(case, self.of)
        values, points = case.explanation.values, case.points
        curve = removal_curve(case.game(), values, players, points, insert=False)
        return {"deletion": judgeable(area(curve, insert=False), players)}


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer deletion."""
    return {"deletion": Deletion}
