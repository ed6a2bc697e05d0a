"""Shapley values from whole permutations, by the shap library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import shap
import torch

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.masks import BATCH, Found, Masks, check_masks, explain_masks
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class PermutationShap:
    """Shapley values: what features add as they come in, in drawn orders (Castro et al., 2009).

    Options: permutations, the orders drawn; each is gone through forwards and backwards, which
    takes 2n + 1 evaluations of a row of n features; absent, what becomes of a feature outside the
    coalition; level, whether a feature is a part (a word) or a whole (its event); seed.

    Exact where at most pairs of features interact. The values sum to score - base by construction,
    so that the gap tells nothing and the error is NaN. The standard error of a value is from shap's
    spread over the 2 · `permutations` passes, as if these were independent; as the way back offsets
    the way there it is rather too large than too small.
    """

    budget: ClassVar[str] = "permutations"

    excused: ClassVar[dict[str, str]] = {
        "symmetry": "its orders are drawn: where more than two features interact, twins get the "
        "same only on average"
    }

    permutations: int = 10
    absent: str = "remove"
    level: str = "part"
    seed: int = 0

    def __post_init__(self) -> None:
        check_masks(self.absent, self.level, permutations=(self.permutations, 1))

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row, as shap does."""
        game = (model, inputs, target, self.absent, self.level, self.seed)
        return explain_masks("permutation_shap", self._attribute, *game)

    def _attribute(self, masks: Masks) -> Found:
        background = shap.maskers.Independent(np.zeros((1, len(masks))))
        background.supports_delta_masking = False  # compiling it takes seconds, masks are cheap
        explainer = shap.PermutationExplainer(masks.array, background, seed=self.seed)
        told = explainer(
            np.ones((1, len(masks))),
            max_evals=self.permutations * (2 * len(masks) + 1),
            error_bounds=True,
            batch_size=BATCH,
            silent=True,
        )
        passes = 2 * self.permutations
        deviation = torch.from_numpy(told.error_std[0]) / (passes - 1) ** 0.5  # its spread is /n
        return Found(torch.from_numpy(told.values[0]), deviation, gap_tells=False)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer permutation SHAP."""
    return {"permutation_shap": PermutationShap}
