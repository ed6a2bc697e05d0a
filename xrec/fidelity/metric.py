"""The contract of a fidelity metric, and the case it judges."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from torch import Tensor

from xrec.data.features import ITEM
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.target import Target, rank
from xrec.fidelity.ledger import Ledger
from xrec.fidelity.retelling import Retelling
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class Case:
    """An explanation, and what is needed to judge it.

    absent: what becomes of a removed feature. points: of a removal curve. truth (B, F), optional:
    the contribution that was planted for each slot, NaN where the plant does not tell. ledger,
    optional: what was found for other explanations of the same inputs. retelling, optional: the
    explainer, where it can be asked again. seed: of whatever a metric draws.
    """

    model: Recommender
    inputs: Inputs
    target: Target
    explanation: Explanation
    absent: str = "remove"
    points: int = 10
    truth: Tensor | None = None
    ledger: Ledger | None = None
    retelling: Retelling | None = None
    seed: int = 0

    def game(self) -> Game:
        """The game whose values the explanation should account for."""
        return self._game(self.target)

    def ranks(self) -> Game:
        """The game whose values are the item's ranks, among the ledger's `everyone` if it has any.

        Raises XrecError, when it is played, where neither ledger nor inputs name other items.
        """
        return self._game(rank)

    def _game(self, target: Target) -> Game:
        if self.ledger is None:
            return Game(self.model, self.inputs, target, self.absent)
        return self.ledger.game(target, self.absent)

    @property
    def of_user(self) -> Tensor:
        """(B, F) bool: the players that are the user's, not the candidate's own.

        Without its own features an item is not recommended at all, so that taking them away says
        little of why this user was recommended it.
        """
        return self.inputs.players & (self.inputs.features.group != ITEM)

    def under(self, absent: str) -> Case:
        """The same case with another removal operator."""
        return replace(self, absent=absent)


class Metric(Protocol):
    """A fidelity metric plugin; its fields are its options in the recipe's `fidelity:`.

    measures: the name of each number it gives, and which is better: "higher" or "lower".

    What it may declare beside: `plays: ClassVar[bool] = True`, it takes features away, and is taken
    under each removal operator of a benchmark. `retells: ClassVar[bool] = False`, it asks the
    explainer again, which may take long. `sees: ClassVar[Mapping[str, Collection[str]]] = {}`, for
    each measure the faults (`xrec.fidelity.faults`) that it claims to see: an explanation with such
    a fault scores worse by it, on average, than the sound one.
    """

    measures: ClassVar[Mapping[str, str]]

    def measure(self, case: Case) -> Mapping[str, Tensor]:
        """(B,) float for each of `measures`, NaN where a row cannot be judged.

        An empty mapping says that the metric does not apply to this case.
        """


def plays(metric: Metric) -> bool:
    """Whether a metric takes features away by the case's removal operator."""
    return getattr(metric, "plays", True)


def retells(metric: Metric) -> bool:
    """Whether a metric asks the explainer again."""
    return getattr(metric, "retells", False)


def sees(metric: Metric) -> Mapping[str, Collection[str]]:
    """The faults that each measure of a metric claims to see, for the measures that claim any."""
    faults: Mapping[str, Collection[str]] = getattr(metric, "sees", {})
    return faults
