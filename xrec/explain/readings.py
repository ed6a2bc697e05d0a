"""What a model reads for a target: each row once, or once for each of several items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from xrec.data.features import ITEM
from xrec.errors import XrecError
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


def check_attends(explainer: str, model: Recommender) -> None:
    """Raise XrecError for a model without the attention that an explainer looks at."""
    if not model.attends:
        raise XrecError(
            f"explainer '{explainer}': the model {type(model).__name__} does not attend; "
            "choose a gradient or perturbation explainer"
        )


class Heard:
    """A model that is asked for its score in another way; all else is the model's own."""

    def __init__(self, model: Recommender, score: Callable[..., Tensor]) -> None:
        self.model, self.score = model, score

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @classmethod
    def through(cls, model: Recommender, score: Callable[..., Tensor]) -> Recommender:
        """The model, for targets, whose `score(inputs, *task)` is what `score` says."""
        return cast(Recommender, cls(model, score))


def laid_out(found: Tensor, inputs: Inputs, start: int) -> Tensor:
    """(B, F) of what was found (B, k, S) in k readings of the slots from `start` on.

    The first reading is of the inputs; the others are about other items, so that of theirs only
    the slots of the user count.
    """
    slots = inputs.values.shape[1]
    wide = torch.nn.functional.pad(found, (start, max(0, slots - start - found.shape[2])))
    mine, others = wide[:, 0, :slots], wide[:, 1:, :slots].sum(1)
    return mine + torch.where(inputs.features.group == ITEM, 0, others)
