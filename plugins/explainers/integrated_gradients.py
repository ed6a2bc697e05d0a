"""Integrated Gradients, by captum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

ROWS = 1024  # rows that go through the gradient at once


@dataclass(frozen=True)
class IntegratedGradients:
    """Gradients on the straight path from a baseline to the features (Sundararajan et al., 2017).

    Options: steps, the points of the Gauss-Legendre quadrature. The baseline of every feature is
    the zero vector, in a slot that stays present; the base is the score there. The sum over a
    slot's vector is its contribution. The error reported is the completeness gap.
    """

    steps: int = 50

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}, it must be at least 1")

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain B rows with `steps` forward and backward evaluations each."""
        zero = torch.where(inputs.features.fixed[..., None], inputs.values, 0).detach()

        def scored(values: Tensor, row: Tensor) -> Tensor:
            return target(model, inputs.rows(row).with_values(values))

        with probe(model) as cost:
            rows = torch.arange(len(inputs), device=inputs.values.device)
            paths = CaptumIntegratedGradients(scored)
            values = [
                paths.attribute(
                    inputs.values[some].detach(),
                    baselines=zero[some],
                    additional_forward_args=(some,),
                    n_steps=self.steps,
                ).sum(-1)
                for some in rows.split(max(1, ROWS // self.steps))
            ]
            with torch.no_grad():
                score, base = scored(inputs.values, rows), scored(zero, rows)
        return Explanation.of(inputs, torch.cat(values), score, base, cost, "integrated_gradients")


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer Integrated Gradients."""
    return {"integrated_gradients": IntegratedGradients}
