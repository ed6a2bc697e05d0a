"""Explanations by hand, as metrics judge them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from torch import Tensor

from xrec.data.features import ITEM
from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.target import logit
from xrec.fidelity.metric import Case
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


def case(model: Recommender, inputs: Inputs, values: Tensor, **how: object) -> Case:
    """`values` as an explanation of the inputs."""
    game = Game(model, inputs)
    told = Explanation.of(inputs, values, game.everything(), game.nothing(), Cost(), "by_hand")
    return Case(model, inputs, logit, told, **how)


def owned(inputs: Inputs, slots: Collection[int]) -> Inputs:
    """The same inputs, some slots being the candidate's own."""
    group = inputs.features.group.clone()
    group[:, list(slots)] = ITEM
    names = {**inputs.features.names, ITEM: next(iter(inputs.features.names.values()))}
    return replace(inputs, features=replace(inputs.features, group=group, names=names))
