"""Deletion: how fast the score falls as the features said to matter most are taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xrec import hookimpl
from xrec.fidelity.curve import area, removal_curve
from xrec.fidelity.metric import Case


@dataclass(frozen=True)
class Deletion:
    """Area under the deletion curve, in logits above the base (Petsiuk et al., 2018).

    Logits, not probabilities, which saturate; a difference, not a ratio. The features that raise
    the score most by the explanation's word go first. Pitfall: what is left of the features is
    often unlike anything the model was trained on.
    """

    measures: ClassVar[Mapping[str, str]] = {"deletion": "lower"}

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) areas."""
        game = case.game()
        curve = removal_curve(game, case.explanation.values, case.points, insert=False)
        return {"deletion": area(curve, game.nothing())}


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer deletion."""
    return {"deletion": Deletion}
