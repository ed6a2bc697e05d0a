"""The contract of an explainer."""

from __future__ import annotations

from typing import Protocol

from xrec.explain.explanation import Explanation
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


class Explainer(Protocol):
    """An explainer plugin; its fields are its options in the recipe's `explain:`.

    A class that is not meant to be an explainer in earnest says what it is meant to be as
    `standing: ClassVar[str]`: "floor", a rule too simple to trust, which others must beat;
    "heuristic", without a claim to add up; or "ceiling", too dear to use but for comparison.

    Explainers that must be trained first also have `fit(model, data)`, called once before
    `explain`.
    """

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """What each feature of `inputs` contributed to `target`.

        The model is left as it was found: `xrec.probe` does that, and counts the cost.
        """
