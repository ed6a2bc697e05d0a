"""GradientSHAP, by captum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from captum.attr import GradientShap as CaptumGradientShap
from torch import Tensor

from xrec import hookimpl
from xrec.explain.baseline import FromUsers
from xrec.explain.explanation import Explanation
from xrec.explain.generators import seeded
from xrec.explain.gradients import Gradients
from xrec.explain.probe import probe
from xrec.explain.seeds import row_seeds
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass
class GradientShap(FromUsers):
    """Gradients at random points between the features and users of a background.

    It estimates expected gradients, and by them Shapley values (Lundberg and Lee, 2017; Erion et
    al., 2021): each sample draws a user, whose vectors of the same slots are the baseline, and a
    point on the way from there. The base is the mean of the target over the whole background, and
    the error reported is the completeness gap: what too few samples leave.

    Options: samples, the draws for each row; noise, the deviation of what is added to the features'
    vectors; background; seed. What is drawn for a row follows from its own features.
    """

    budget: ClassVar[str] = "samples"

    excused: ClassVar[dict[str, str]] = {
        "linear": "contributions are differences from a background of users",
        "completeness": "users and points are sampled: it adds up on average",
        "symmetry": "twins have other counterparts among the background's features",
    }

    samples: int = 50
    noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}, it must be at least 1")
        if self.noise < 0:
            raise ValueError(f"noise is {self.noise}, it must be at least 0")

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row, with `samples` gradients each; the base takes `background`."""
        seeds, background = row_seeds(inputs, self.seed), self.fitted()
        everyone = torch.arange(len(background), device=inputs.values.device)
        bases: dict[int, Tensor] = {}
        with probe(model) as cost:
            of = Gradients(model, inputs, target)

            def attribute(row: int, vectors: Tensor, said: Callable[[Tensor], Tensor]) -> Tensor:
                one = inputs.rows(torch.full_like(everyone, row))
                starts = background.standing_in(one, everyone)[:, inputs.players[row]].detach()
                with torch.no_grad():
                    bases[row] = torch.cat([said(some) for some in starts.split(of.at_once)]).mean()
                with seeded(seeds[row], vectors.device):
                    return self._row(CaptumGradientShap(said), vectors, starts, of.at_once)

            values = of.row_by_row(attribute)
            score = of.score()
        base = torch.stack([bases.get(row, said) for row, said in enumerate(score)])
        return Explanation.of(inputs, values, score, base, cost, "gradient_shap")

    def _row(self, draws: CaptumGradientShap, vectors: Tensor, starts: Tensor, most: int) -> Tensor:
        """(n,) the mean over all samples, of which `most` at a time."""
        total, left = torch.zeros_like(vectors[0, :, 0]), self.samples
        while left:
            some = min(left, most)
            found: Tensor = draws.attribute(
                vectors, baselines=starts, n_samples=some, stdevs=self.noise
            )
            total, left = total + some * found[0].sum(-1), left - some
        return total / self.samples


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer GradientSHAP."""
    return {"gradient_shap": GradientShap}
