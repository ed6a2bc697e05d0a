"""Random contributions: the floor that an explainer has to beat."""

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
class Random:
    """A floor: standard normal contributions that have looked at nothing. Options: seed."""

    standing: ClassVar[str] = "floor"
    excused: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            ("linear", "completeness", "symmetry", "dummy"), "it does not look at the model"
        ),
        **dict.fromkeys(("batch", "padding"), "it draws for a whole batch at once"),
    }

    seed: int = 0

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Draw contributions; the model is asked for score and base alone."""
        with probe(model) as cost, torch.no_grad():
            game = Game(model, inputs, target)
            score, base = game.everything(), game.nothing()
            generator = torch.Generator().manual_seed(self.seed)
            values = torch.randn(inputs.present.shape, generator=generator).to(score)
        return Explanation.of(inputs, values, score, base, cost, "random")


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer the random floor."""
    return {"random": Random}
