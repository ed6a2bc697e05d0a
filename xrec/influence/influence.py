"""The contract of what traces recommendations back to training interactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.explain.cost import Cost
from xrec.influence.checkpoint import Checkpoint
from xrec.influence.interactions import Interactions
from xrec.influence.objective import Objective
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class Trace:
    """What M training interactions did to the logits of B recommendations.

    values (B, M): positive where training on the interaction raised the logit of the item.
    interactions: the M that were looked at.
    parameters: how many numbers of the model the gradients were taken of.
    cost: evaluations are rows of a batch, of interactions and of recommendations alike.
    notes: sentences on what people should know of how it was made.
    """

    values: Tensor
    interactions: Interactions
    parameters: int
    cost: Cost
    notes: Sequence[str] = ()

    @classmethod
    def of(
        cls, objective: Objective, values: Tensor, method: str, notes: Sequence[str] = ()
    ) -> Trace:
        """The trace of values (B, M) that a method made of an objective.

        Raises XrecError: values are no numbers, or no gradient of any logit reaches a parameter.
        """
        if not values.isfinite().all():
            raise XrecError(f"influence: by {method}, a value is not a number: train at a lower lr")
        if values.numel() and not values.any():
            raise XrecError(
                f"influence: by {method}, every value is 0: what the score is made of is not among "
                "the parts, or it did not learn; name other parts, or none"
            )
        held = values.detach().cpu()
        return cls(held, objective.interactions, objective.size, objective.cost, notes)


class Influence(Protocol):
    """The contract of an influence plugin; its fields are its options in the recipe.

    top: how many interactions are told for, and how many against, each recommendation.
    """

    @property
    def top(self) -> int: ...  # noqa: D102

    def trace(
        self, model: Recommender, checkpoints: Sequence[Checkpoint], data: Data, queries: Batch
    ) -> Trace:
        """What training interactions did to the logits of `queries`, B users and an item each.

        checkpoints: weights that training went through, the earliest first; there may be none.
        `model`, the trained one, and the random generators are left as they were.

        Raises XrecError where the method cannot be used with that model.
        """
