"""Feature ablation, by captum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from captum.attr import FeatureAblation as CaptumFeatureAblation

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.masks import BATCH, Found, Masks, check_masks, explain_masks
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class FeatureAblation:
    """What the score loses when a feature alone is taken away: captum's `FeatureAblation`.

    Options: absent, what becomes of the feature; level, whether a feature is a part (a word) or a
    whole (its event). With parts it says what the floor `leave_one_out` says. It makes no claim to
    add up; the error is the completeness gap, which shows how much features share.
    """

    standing: ClassVar[str] = "heuristic"
    excused: ClassVar[dict[str, str]] = {
        "completeness": "what features do together is lost with each of them, or with none"
    }

    absent: str = "remove"
    level: str = "part"

    def __post_init__(self) -> None:
        check_masks(self.absent, self.level)

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row, with an evaluation a feature."""
        game = (model, inputs, target, self.absent, self.level)
        return explain_masks("feature_ablation", self._attribute, *game)

    def _attribute(self, masks: Masks) -> Found:
        ablation = CaptumFeatureAblation(masks.value)
        found = ablation.attribute(
            masks.everyone, baselines=masks.nobody, perturbations_per_eval=BATCH
        )
        return Found(found[0])


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer feature ablation."""
    return {"feature_ablation": FeatureAblation}
