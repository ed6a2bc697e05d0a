"""Integrated Gradients, by captum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from xrec import hookimpl
from xrec.explain.baseline import FromBaseline
from xrec.explain.explanation import Explanation
from xrec.explain.gradients import Gradients
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass
class IntegratedGradients(FromBaseline):
    """Gradients on the straight path from a baseline to the features (Sundararajan et al., 2017).

    Options: steps, the points of the Gauss-Legendre quadrature; and those of the baseline. The base
    is the target at the baseline. The sum over a slot's vector is its contribution. The error
    reported is the completeness gap.
    """

    budget: ClassVar[str] = "steps"

    steps: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}, it must be at least 1")

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain B rows with `steps` gradients each, and two evaluations, for each baseline."""
        with probe(model) as cost:
            of = Gradients(model, inputs, target)
            paths = CaptumIntegratedGradients(of)

            def attribute(rows: Tensor, start: Tensor) -> Tensor:
                found: Tensor = paths.attribute(
                    of.vectors[rows],
                    baselines=start,
                    additional_forward_args=(rows,),
                    n_steps=self.steps,
                    internal_batch_size=max(len(rows), of.at_once),
                )
                return found.sum(-1)

            values, base = self.averaged(of, attribute, copies=self.steps)
            score = of.score()
        return Explanation.of(inputs, values, score, base, cost, "integrated_gradients")


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer Integrated Gradients."""
    return {"integrated_gradients": IntegratedGradients}
