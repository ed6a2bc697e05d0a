"""Exact Shapley values, by all coalitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xrec import hookimpl
from xrec.errors import XrecError
from xrec.explain.enumeration import enumerated
from xrec.explain.explanation import Explanation
from xrec.explain.game import check_absent
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

MOST = 16  # players: 65,536 coalitions a row


@dataclass(frozen=True)
class ExactShapley:
    """A ceiling: Shapley values (Shapley, 1953) by the 2^n coalitions of a row's n players.

    Options: absent, what becomes of a player outside the coalition.
    """

    standing: ClassVar[str] = "ceiling"

    absent: str = "remove"

    def __post_init__(self) -> None:
        check_absent(self.absent)

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain rows of up to 16 players. Raises XrecError where a row has more."""
        most = int(inputs.players.sum(1).max())
        if most > MOST:
            raise XrecError(
                f"exact_shapley: a row has {most} features, and no more than {MOST} can be "
                "enumerated: use fast_shapley, or a shorter data.history"
            )
        with probe(model) as cost:
            values, score, base = enumerated(model, inputs, target, self.absent)
        values, score, base = (each.to(inputs.values) for each in (values, score, base))
        exact = torch.zeros_like(values)
        kept = (inputs, values, score, base, cost, "exact_shapley")
        return Explanation.of(*kept, deviation=exact)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer exact Shapley values."""
    return {"exact_shapley": ExactShapley}
