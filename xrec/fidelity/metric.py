"""The contract of a fidelity metric, and the case it judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class Case:
    """An explanation, and what is needed to judge it.

    absent: what becomes of a removed feature. points: of a removal curve. truth (B, F), optional:
    the contribution that was planted for each slot, NaN where the plant does not tell.
    """

    model: Recommender
    inputs: Inputs
    target: Target
    explanation: Explanation
    absent: str = "remove"
    points: int = 10
    truth: Tensor | None = None

    def game(self) -> Game:
        """The game whose values the explanation should account for."""
        return Game(self.model, self.inputs, self.target, self.absent)


class Metric(Protocol):
    """A fidelity metric plugin; its fields are its options in the recipe's `fidelity:`.

    measures: the name of each number it gives, and which is better: "higher" or "lower".
    """

    measures: ClassVar[Mapping[str, str]]

    def measure(self, case: Case) -> Mapping[str, Tensor]:
        """(B,) float for each of `measures`, NaN where a row cannot be judged.

        An empty mapping says that the metric does not apply to this case.
        """
