"""What is explained of a recommendation: a logit or a difference of two, never a probability."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xrec.data.tasks import Task
from xrec.errors import XrecError
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

#: A number for each of B recommendations, (B,), that gradients can pass through.
Target = Callable[[Recommender, Inputs], Tensor]


def logit(model: Recommender, inputs: Inputs) -> Tensor:
    """(B,) the score itself."""
    return model.score(inputs)


def margin(model: Recommender, inputs: Inputs) -> Tensor:
    """(B,) how far the score is above the runner-up's, the first of `inputs.rivals`.

    The runner-up has the same features of the user, present or not, and all of its own: what is
    explained is the choice between the two. It counts as two evaluations a row.

    Raises XrecError: the inputs name no rivals.
    """
    if inputs.rivals is None or not inputs.rivals.shape[1]:
        raise XrecError(
            "target 'margin': the inputs name no runner-up: give them one by Inputs.against"
        )
    other = model.exchanged(inputs, inputs.rivals[:, 0])
    mine, theirs = model.score(Inputs.joined([inputs, other])).chunk(2)
    return mine - theirs


def lead(first: int) -> Target:
    """How far the score is above that of the rival at place `first`, whichever that is.

    It is at least 0 where the item is among the first `first` of itself and `inputs.rivals`, ties
    going to the item, and infinite where there are fewer rivals. Raises XrecError as `margin` does.
    """

    def ahead(model: Recommender, inputs: Inputs) -> Tensor:
        rivals = inputs.rivals
        if rivals is None:
            raise XrecError("the inputs name no rivals: give them some by Inputs.against")
        if rivals.shape[1] < first:
            return torch.full_like(inputs.values[:, 0, 0], torch.inf)
        said = model.compared(inputs, rivals)
        theirs = said[:, 1:].masked_fill(rivals == 0, -torch.inf)
        return said[:, 0] - theirs.topk(first, dim=1).values[:, -1]

    return ahead


def rank(model: Recommender, inputs: Inputs) -> Tensor:
    """(B,) the place, from 1, of the item among itself and all of `inputs.rivals`.

    Ties count against the item, so that a model that says the same of all ranks it last. Rivals
    have all features of their own and those of the user that are present. No gradient passes
    through it. Raises XrecError as `margin` does.
    """
    rivals = inputs.rivals
    if rivals is None:
        raise XrecError("the inputs name no rivals: give them some by Inputs.against")
    said = model.compared(inputs, rivals)
    ahead = ~(said[:, 1:] < said[:, :1]) & (rivals > 0)
    return 1 + ahead.sum(1).to(said)


def task(place: int) -> Target:
    """What the model says of one task of several, by its place among the recipe's `tasks:`."""

    def said(model: Recommender, inputs: Inputs) -> Tensor:
        return model.score(inputs, place)

    return said


def target_named(name: str, tasks: Sequence[Task]) -> Target:
    """The target that a recipe calls "logit", "margin", or by the name of one of its tasks.

    Raises KeyError: there is no such target; a recipe that asks for one is refused.
    """
    known: dict[str, Target] = {"logit": logit, "margin": margin}
    return (known | {each.name: task(place) for place, each in enumerate(tasks)})[name]
