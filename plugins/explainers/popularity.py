"""Popularity: the more an event's item was had by all, the more it is said to matter; a floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class Popularity:
    """A floor: log(1 + how often an event's item was had in training); nothing for other groups.

    Where an event is read by its words, its value is split evenly among them.
    """

    standing: ClassVar[str] = "floor"
    excused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("linear", "completeness", "symmetry", "dummy"), "it does not look at the model"
    )

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Look up how often items were had; the model is asked for score and base alone."""
        with probe(model) as cost, torch.no_grad():
            game = Game(model, inputs, target)
            score, base = game.everything(), game.nothing()
            features = inputs.features
            common = model.data_module.counts.to(score).log1p()
            values = features.parted(common[features.items], inputs.players)
        return Explanation.of(inputs, values, score, base, cost, "popularity")


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer the popularity floor."""
    return {"popularity": Popularity}
