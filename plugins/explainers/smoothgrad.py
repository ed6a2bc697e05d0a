"""SmoothGrad, by captum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.generators import seeded
from xrec.explain.gradients import Gradients
from xrec.explain.probe import probe
from xrec.explain.seeds import row_seeds
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class SmoothGrad:
    """Saliency of the gradient averaged over noisy copies of the features (Smilkov et al., 2017).

    Options: samples, the copies of each row; noise, the deviation of what is added to the vectors,
    as a share of the span from the least to the largest number in the row's; seed. What is drawn
    for a row follows from its own features. Values and base are as saliency has them.
    """

    budget: ClassVar[str] = "samples"

    excused: ClassVar[dict[str, str]] = {
        "linear": "it tells how steep the target is, not what features add",
        "completeness": "it tells how steep the target is, not what features add",
    }

    samples: int = 50
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}, it must be at least 1")
        if not self.noise > 0:
            raise ValueError(f"noise is {self.noise}, it must be above 0")

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row, with `samples` gradients and two evaluations each."""
        seeds = row_seeds(inputs, self.seed)
        with probe(model) as cost:
            of = Gradients(model, inputs, target)

            def attribute(row: int, vectors: Tensor, said: Callable[[Tensor], Tensor]) -> Tensor:
                with seeded(seeds[row], vectors.device):
                    found: Tensor = NoiseTunnel(Saliency(said)).attribute(
                        vectors,
                        nt_samples=self.samples,
                        nt_samples_batch_size=min(self.samples, of.at_once),
                        stdevs=self.noise * float(vectors.max() - vectors.min()),
                        abs=False,
                    )
                return found[0].abs().sum(-1)

            values = of.row_by_row(attribute)
            score, base = of.score(), of.base()
        unknown = torch.full_like(score, torch.nan)
        return Explanation.of(inputs, values, score, base, cost, "smoothgrad", unknown)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer SmoothGrad."""
    return {"smoothgrad": SmoothGrad}
