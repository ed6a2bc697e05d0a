"""Cases in which the explainer can be asked again, and explainers that say what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xrec.explain.cost import Cost
from xrec.explain.explainer import Explainer
from xrec.explain.explanation import Explanation
from xrec.explain.target import Target, logit
from xrec.fidelity.metric import Case
from xrec.fidelity.retelling import Retelling
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass
class Saying:
    """An explainer of what `says` gives for a model and inputs; it counts the rows it is asked."""

    says: Callable[[Recommender, Inputs], Tensor]
    asked: int = 0

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        self.asked += len(inputs)
        nothing = torch.zeros(len(inputs))
        return Explanation.of(inputs, self.says(model, inputs), nothing, nothing, Cost(), "says")


@dataclass
class Drawing:
    """An explainer of what `says` gives for inputs and its seed."""

    says: Callable[[Inputs, int], Tensor]
    seed: int = 0

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        nothing = torch.zeros(len(inputs))
        told = self.says(inputs, self.seed)
        return Explanation.of(inputs, told, nothing, nothing, Cost(), "draws")


def asked(explainer: Explainer, model: Recommender, inputs: Inputs, **how: object) -> Case:
    """The case of an explainer's explanation, with the explainer at hand."""
    told = explainer.explain(model, inputs, logit)
    return Case(model, inputs, logit, told, retelling=Retelling(explainer), **how)
