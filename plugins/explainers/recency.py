"""Recency: the later an event, the more it is said to matter; a floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xrec import hookimpl
from xrec.data.features import BEHAVIOUR
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class Recency:
    """A floor: 1 for the last event, 1/2 for the one before, 1/3 …; nothing for other groups."""

    standing: ClassVar[str] = "floor"
    excused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("linear", "completeness", "symmetry", "dummy"), "it does not look at the model"
    )

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Rank events by how late they come; the model is asked for score and base alone."""
        with probe(model) as cost, torch.no_grad():
            game = Game(model, inputs, target)
            score, base = game.everything(), game.nothing()
            events = (inputs.features.group == BEHAVIOUR) & inputs.present
            later = events.flip(1).cumsum(1).flip(1)
            values = torch.where(events, 1 / later.clamp(min=1), 0.0)
        return Explanation.of(inputs, values, score, base, cost, "recency")


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer the recency floor."""
    return {"recency": Recency}
