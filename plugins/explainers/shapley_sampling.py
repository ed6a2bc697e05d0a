"""Shapley value sampling, by captum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from captum.attr import ShapleyValueSampling

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.masks import BATCH, Found, Masks, check_masks, explain_masks
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class ShapleySampling:
    """Shapley values: what features add as they come in, in drawn orders (Castro et al., 2009).

    Options: permutations, the orders drawn, each of n evaluations of a row of n features; absent,
    what becomes of a feature outside the coalition; level, whether a feature is a part (a word) or
    a whole (its event); seed.

    The values sum to score - base by construction, so that the gap tells nothing of the sampling
    error. captum gives no other, and the error is NaN, not known.
    """

    budget: ClassVar[str] = "permutations"

    excused: ClassVar[dict[str, str]] = {
        "symmetry": "its orders are drawn: twins get the same only on average"
    }

    permutations: int = 25
    absent: str = "remove"
    level: str = "part"
    seed: int = 0

    def __post_init__(self) -> None:
        check_masks(self.absent, self.level, permutations=(self.permutations, 1))

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row."""
        game = (model, inputs, target, self.absent, self.level, self.seed)
        return explain_masks("shapley_sampling", self._attribute, *game)

    def _attribute(self, masks: Masks) -> Found:
        found = ShapleyValueSampling(masks.value).attribute(
            masks.everyone,
            baselines=masks.nobody,
            n_samples=self.permutations,
            perturbations_per_eval=BATCH,
        )
        return Found(found[0], gap_tells=False)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer Shapley value sampling."""
    return {"shapley_sampling": ShapleySampling}
