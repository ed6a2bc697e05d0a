"""KernelSHAP, by the shap library."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import shap
import torch

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.masks import Found, Masks, check_masks, explain_masks
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

logging.getLogger("shap").setLevel(logging.WARNING)  # it narrates every row at INFO


@dataclass(frozen=True)
class KernelShap:
    """Shapley values by weighted regression on sampled coalitions (Lundberg and Lee, 2017).

    Options: evaluations, the coalitions sampled a row (all of them where there are no more);
    absent, what becomes of a feature outside the coalition; level, whether a feature is a part (a
    word) or a whole (its event); seed.

    shap explains a row of ones against a background of zeros: what it thinks is the data is the
    mask. The regression is not regularised: the values sum to score - base whatever the number of
    evaluations. So the completeness gap tells nothing of the sampling error, and the error is NaN,
    not known, unless all coalitions of a row were evaluated.
    """

    budget: ClassVar[str] = "evaluations"

    evaluations: int = 512
    absent: str = "remove"
    level: str = "part"
    seed: int = 0

    def __post_init__(self) -> None:
        check_masks(self.absent, self.level, evaluations=(self.evaluations, 2))

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row, as shap does."""
        game = (model, inputs, target, self.absent, self.level, self.seed)
        return explain_masks("kernel_shap", self._attribute, *game)

    def _attribute(self, masks: Masks) -> Found:
        explainer = shap.KernelExplainer(masks.array, np.zeros((1, len(masks))))
        found = explainer.shap_values(
            np.ones((1, len(masks))), nsamples=self.evaluations, l1_reg=0, silent=True
        )
        all_of_them = len(masks) <= math.log2(self.evaluations + 2)
        return Found(torch.from_numpy(np.asarray(found)[0]), gap_tells=all_of_them)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer KernelSHAP."""
    return {"kernel_shap": KernelShap}
