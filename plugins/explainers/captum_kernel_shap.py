"""KernelSHAP, by captum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import sklearn  # noqa: F401 - captum imports it only once it explains: say at once if it lacks
import torch
from captum.attr import KernelShap

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.masks import BATCH, Found, Masks, check_masks, explain_masks
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

DRAWN = "its coalitions are drawn, with repeats"


@dataclass(frozen=True)
class CaptumKernelShap:
    """Shapley values by regression on coalitions drawn one by one (Lundberg and Lee, 2017).

    captum draws coalitions by the Shapley kernel, with repeats, where shap (`kernel_shap`) lists
    small and large ones and draws the rest in pairs. Those of all and of none have a weight of 10⁶
    each, so that the values sum to score - base, nearly; the gap tells nothing of the sampling
    error, which is NaN, not known. captum computes in single precision.

    Options: evaluations, the coalitions drawn a row; absent, what becomes of a feature outside;
    level, whether a feature is a part (a word) or a whole (its event); seed.
    """

    budget: ClassVar[str] = "evaluations"

    excused: ClassVar[dict[str, str]] = {
        "symmetry": f"{DRAWN}: twins get the same only on average",
        "dummy": f"{DRAWN}: where features interact, a dummy gets nothing only on average",
    }

    evaluations: int = 512
    absent: str = "remove"
    level: str = "part"
    seed: int = 0

    def __post_init__(self) -> None:
        check_masks(self.absent, self.level, evaluations=(self.evaluations, 3))

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row, as captum advises."""
        game = (model, inputs, target, self.absent, self.level, self.seed)
        return explain_masks("captum_kernel_shap", self._attribute, *game)

    def _attribute(self, masks: Masks) -> Found:
        if len(masks) == 1:  # captum finds no coalition but all and none, and draws for ever
            both = masks.value(torch.cat([masks.everyone, masks.nobody]))
            return Found(both[:1] - both[1:])
        found = KernelShap(masks.value).attribute(
            masks.everyone,
            baselines=masks.nobody,
            n_samples=self.evaluations,
            perturbations_per_eval=BATCH,
        )
        return Found(found[0], gap_tells=False)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer captum's KernelSHAP."""
    return {"captum_kernel_shap": CaptumKernelShap}
