"""Gradient × input, by captum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from captum.attr import InputXGradient

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.gradients import Gradients
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class GradientXInput:
    """The gradient times the vector, summed over its dimensions (Shrikumar et al., 2016).

    What the slot would contribute if the target went straight from the zero vector on as it goes
    at the features: exact where the model is linear, and only there does it add up.
    """

    excused: ClassVar[dict[str, str]] = {
        "completeness": "it goes by the slope at the features, as if the way there were straight"
    }

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """One gradient a row, and two evaluations."""
        with probe(model) as cost:
            of = Gradients(model, inputs, target)
            values = of.by_slope(InputXGradient(of))
            score, base = of.score(), of.base()
        unknown = torch.full_like(score, torch.nan)
        return Explanation.of(inputs, values, score, base, cost, "gradient_x_input", unknown)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer gradient × input."""
    return {"gradient_x_input": GradientXInput}
