"""Occlusion by a sliding window, by captum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from captum.attr import Occlusion as CaptumOcclusion

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.masks import BATCH, Found, Masks, check_masks, explain_masks
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

TOGETHER = "a window's loss is given to each feature in it"


@dataclass(frozen=True)
class Occlusion:
    """What the score loses when a window of neighbours is taken away (Zeiler and Fergus, 2014).

    A window slides over the features in the order of their slots, which for events is that of time;
    it does not stop at the borders of groups. A feature's value is the mean loss over the windows
    that it is in: not its own, as in ablation, but that of its neighbourhood, so that neighbours
    that say the same, and would make up for one another, are found. Values are of the size of a
    window's loss, and do not add up; the error is the completeness gap.

    Options: window, the number of features in it (all, where there are fewer), 1 being ablation;
    absent, what becomes of a feature; level, whether one is a part (a word) or a whole (its event).
    """

    standing: ClassVar[str] = "heuristic"
    excused: ClassVar[dict[str, str]] = {
        "linear": TOGETHER,
        "completeness": TOGETHER,
        "symmetry": "twins have different neighbours",
        "dummy": TOGETHER,
    }

    window: int = 3
    absent: str = "remove"
    level: str = "part"

    def __post_init__(self) -> None:
        check_masks(self.absent, self.level, window=(self.window, 1))

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row, with an evaluation a window."""
        game = (model, inputs, target, self.absent, self.level)
        return explain_masks("occlusion", self._attribute, *game)

    def _attribute(self, masks: Masks) -> Found:
        found = CaptumOcclusion(masks.value).attribute(
            masks.everyone,
            sliding_window_shapes=(min(self.window, len(masks)),),
            baselines=masks.nobody,
            perturbations_per_eval=BATCH,
        )
        return Found(found[0])


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer occlusion."""
    return {"occlusion": Occlusion}
