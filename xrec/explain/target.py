"""What is explained of a recommendation: its logit, never the saturated probability."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

#: A number for each of B recommendations, (B,), that gradients can pass through.
Target = Callable[[Recommender, Inputs], Tensor]


def task(place: int) -> Target:
    """What the model says of one task of several, by its place among the recipe's `tasks:`."""

    def said(model: Recommender, inputs: Inputs) -> Tensor:
        return model.score(inputs, place)

    return said


def logit(model: Recommender, inputs: Inputs) -> Tensor:
    """(B,) the score itself."""
    return model.score(inputs)
