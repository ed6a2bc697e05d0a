"""Asking an explainer again: with another seed, of other inputs, of another model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from xrec.explain.explainer import Explainer
from xrec.explain.explanation import Explanation
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

#: How an explainer is asked: the explanation, of a model and inputs, as it would be shown.
Ask = Callable[[Explainer, Recommender, Inputs, Target], Explanation]


def plainly(
    explainer: Explainer, model: Recommender, inputs: Inputs, target: Target
) -> Explanation:
    """Ask an explainer, and change nothing of what it says."""
    return explainer.explain(model, inputs, target)


@dataclass(frozen=True)
class Retelling:
    """An explainer, ready to explain, that a metric may ask again.

    What an explainer has learned stays as it is: of another model it says what it would if nobody
    taught it anew.
    """

    explainer: Explainer
    ask: Ask = plainly

    @property
    def draws(self) -> bool:
        """Whether what it says may depend on a seed."""
        return hasattr(self.explainer, "seed")

    def of(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """What it says of a model and inputs."""
        return self.ask(self.explainer, model, inputs, target)

    def seeded(self, seed: int) -> Retelling:
        """The same explainer drawing by another seed, as far as it draws."""
        return Retelling(reseeded(self.explainer, seed), self.ask)


def reseeded(explainer: Explainer, seed: int) -> Explainer:
    """An explainer that draws by another seed when it explains; one that draws nothing as it is.

    It has learned what the first has.
    """
    if not hasattr(explainer, "seed"):
        return explainer
    twin = copy.copy(explainer)
    object.__setattr__(twin, "seed", seed)  # options are frozen in most
    return twin
