"""Saliency, by captum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from captum.attr import Saliency as CaptumSaliency

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.gradients import Gradients
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class Saliency:
    """How steeply the target changes with a slot's vector (Simonyan et al., 2014).

    A value is the sum, over the vector's dimensions, of the gradient's size: the most that the
    target changes for a unit of change in every dimension. It has no sign, and does not add up; the
    base is the target of zero vectors.
    """

    excused: ClassVar[dict[str, str]] = {
        "linear": "it tells how steep the target is, not what features add",
        "completeness": "it tells how steep the target is, not what features add",
    }

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """One gradient a row, and two evaluations."""
        with probe(model) as cost:
            of = Gradients(model, inputs, target)
            values = of.by_slope(CaptumSaliency(of))
            score, base = of.score(), of.base()
        unknown = torch.full_like(score, torch.nan)
        return Explanation.of(inputs, values, score, base, cost, "saliency", unknown)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer saliency."""
    return {"saliency": Saliency}
