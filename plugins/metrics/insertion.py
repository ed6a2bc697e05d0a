"""Insertion: how fast the score rises as the features said to matter most are brought in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xrec import hookimpl
from xrec.fidelity.curve import area, removal_curve
from xrec.fidelity.metric import Case


@dataclass(frozen=True)
class Insertion:
    """Area under the insertion curve, in logits above the base (Petsiuk et al., 2018).

    The twin of deletion, from nothing up, with the same pitfall at the other end.
    """

    measures: ClassVar[Mapping[str, str]] = {"insertion": "higher"}

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) areas."""
        game = case.game()
        curve = removal_curve(game, case.explanation.values, case.points, insert=True)
        return {"insertion": area(curve, game.nothing())}


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer insertion."""
    return {"insertion": Insertion}
