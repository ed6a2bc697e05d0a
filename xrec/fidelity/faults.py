"""Explainers that are broken on purpose, each in one way: what a metric worth its name must notice.

A fault wraps a sound explainer and keeps the contract: finite values, none for what is not a
player, the target's score and base. So nothing but a measure can tell that it is broken. What it
draws beside, it draws alike whoever asks, so that it is no worse than that in any other way::

    shuffled = faulty("shuffled", FastShapley())
    shuffled.explain(model, inputs, logit)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xrec.data.features import ITEM
from xrec.errors import nearest
from xrec.explain.explainer import Explainer
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.seeds import row_seeds
from xrec.explain.target import Target
from xrec.fidelity.retelling import reseeded
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

DRAW = 7919  # seed of what a fault draws: other than those that a sound explainer is likely to have


@dataclass
class Fault:
    """A sound explainer whose values are spoilt; score, base, error and cost are what it says.

    Where the sound one draws by a `seed`, so does the fault.
    """

    name: ClassVar[str]
    sound: Explainer

    @property
    def seed(self) -> int:
        """The seed of the sound explainer. Raises AttributeError where it has none."""
        found: int = self.sound.seed  # type: ignore[attr-defined]
        return found

    @seed.setter
    def seed(self, seed: int) -> None:
        self.sound = reseeded(self.sound, seed)

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """What the sound explainer says, spoilt."""
        told = self.sound.explain(model, inputs, target)
        return self.saying(self.spoilt(told, inputs), told, inputs)

    def spoilt(self, told: Explanation, inputs: Inputs) -> Tensor:
        """(B, F) values in the place of the sound ones; what is not a player may have any."""
        raise NotImplementedError

    def saying(self, values: Tensor, told: Explanation, inputs: Inputs) -> Explanation:
        """The sound explanation with other values (B, F), of which no deviation is known."""
        values = torch.where(inputs.players, values, 0).to(told.values)
        return replace(told, values=values, explainer=self.name, deviation=None, removal=None)


@dataclass
class Shuffled(Fault):
    """Each row's values, given to its features in an order drawn at random.

    The sizes are right and add up, but tell of other features. Whatever asks which features matter
    should notice; completeness and sparsity, which do not ask, cannot.
    """

    name: ClassVar[str] = "shuffled"

    def spoilt(self, told: Explanation, inputs: Inputs) -> Tensor:
        """The row's own values in another order, which follows from the row alone."""
        values = torch.zeros_like(told.values)
        for row, seed in enumerate(row_seeds(inputs, DRAW)):
            mine = inputs.players[row].nonzero()[:, 0]
            order = torch.randperm(len(mine), generator=torch.Generator().manual_seed(seed))
            values[row, mine] = told.values[row, mine[order.to(mine.device)]]
        return values


@dataclass
class Constant(Fault):
    """An even share of the sum for each feature.

    It adds up, and names nothing. Whatever asks for more than the sum should notice. Correlations
    are not defined for it, and metrics that order features order them by slot.
    """

    name: ClassVar[str] = "constant"

    def spoilt(self, told: Explanation, inputs: Inputs) -> Tensor:
        """The mean of each row's values."""
        share = told.values.sum(1) / inputs.players.sum(1).clamp(min=1)
        return share[:, None].expand_as(told.values)


@dataclass
class Flipped(Fault):
    """The sign of each value turned: what speaks for an item is said to speak against it.

    Whatever looks at the sign should notice; what orders features by size, as planted precision
    does, cannot.
    """

    name: ClassVar[str] = "flipped"

    def spoilt(self, told: Explanation, inputs: Inputs) -> Tensor:
        """The negative."""
        return -told.values


@dataclass
class Scaled(Fault):
    """All values three times what they should be.

    The order is right and the credit does not add up. What is in logits should notice; what asks
    for the order alone cannot, nor what scales the values for itself.
    """

    name: ClassVar[str] = "scaled"
    times: ClassVar[float] = 3.0

    def spoilt(self, told: Explanation, inputs: Inputs) -> Tensor:
        """A multiple."""
        return self.times * told.values


@dataclass
class Leaking(Fault):
    """A made-up explanation that is nothing but the best order for the deletion curve.

    At each step that feature of the user's goes whose removal lowers the target most, and is said
    to matter less than those before. Values fall evenly and add up to score - base; the item's own
    features get none. Deletion by removal is the metric that it was made from, and thinks it as
    good as the truth or better; what asks for anything else should notice.

    Options: greedy, the features that are chosen so, one after another, of which each takes as many
    evaluations as features are left; the others of a row follow by what the last step found.
    """

    name: ClassVar[str] = "leaking"
    greedy: int = 64

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Order each row's features; what the sound explainer says is not asked."""
        mine = inputs.players & (inputs.features.group != ITEM)
        with probe(model) as cost:
            game = Game(model, inputs, target)
            score, base = game.everything(), game.nothing()
            place = worst_first(game, mine, self.greedy)
        count, total = mine.sum(1, keepdim=True), (score - base)[:, None]
        step = 2 * total.abs() / (count * (count - 1)).clamp(min=1)
        values = total / count.clamp(min=1) + step * ((count - 1) / 2 - place)
        values = torch.where(mine, values, 0)
        return Explanation.of(inputs, values, score, base, cost, self.name)


def worst_first(game: Game, players: Tensor, steps: int) -> Tensor:
    """(B, F) int64 the place, from 0, at which each of some players (B, F) goes to lower a game.

    One goes at each step: that without which the value is least. What `steps` leave goes in the
    order of what the last of them found.
    """
    gone = torch.zeros_like(players)
    row = torch.arange(len(players), device=players.device)
    alone = torch.eye(players.shape[1], dtype=torch.bool, device=players.device)
    place = torch.zeros_like(players, dtype=torch.long)
    for step in range(min(steps, int(players.sum(1).max()))):
        left = players & ~gone
        without = game.value(~(gone[:, None] | alone & players[:, None]))
        order = torch.where(left, without, torch.inf).argsort(dim=1, stable=True)
        place = torch.where(left, step + order.argsort(dim=1), place)
        gone[row, order[:, 0]] = True
    return place


@dataclass
class Stale(Fault):
    """A sound explanation of a model that has the same shape and other weights.

    As of one that was replaced since. Its weights are drawn anew, with the mean and deviation that
    each tensor has; score and base are those of the model that is asked about, so that it does not
    add up either. Whatever holds an explanation against the model should notice.
    """

    name: ClassVar[str] = "stale"

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """What the sound explainer says of the other model."""
        told = self.sound.explain(redrawn(model), inputs, target)
        with probe(model):
            game = Game(model, inputs, target)
            real = replace(told, score=game.everything(), base=game.nothing())
        return self.saying(told.values, real, inputs)


@torch.no_grad()
def redrawn(model: Recommender) -> Recommender:
    """A copy of a model with parameters from a normal distribution, each tensor's moments kept."""
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(DRAW)
    for weights in twin.parameters():
        noise = torch.randn(weights.shape, generator=generator).to(weights)
        weights.copy_(weights.mean() + weights.std(correction=0) * noise)
    return twin


@dataclass
class Jittery(Fault):
    """A sound explanation drowned in noise that differs with every call and seed.

    The noise is normal, `times` as large as the root mean square of the row's values. Whatever asks
    twice should notice, and what asks which features matter.
    """

    name: ClassVar[str] = "jittery"
    times: ClassVar[float] = 3.0
    seed: int = 0
    calls: int = field(default=0, init=False)

    def spoilt(self, told: Explanation, inputs: Inputs) -> Tensor:
        """Values and noise."""
        drawn = np.random.default_rng([self.seed, self.calls]).standard_normal(told.values.shape)
        self.calls += 1
        count = inputs.players.sum(1).clamp(min=1)
        size = (told.values.square().sum(1) / count).sqrt()
        return told.values + self.times * size[:, None] * torch.from_numpy(drawn).to(told.values)


@dataclass
class Deaf(Fault):
    """A fixed function of the features' vectors: how far each reaches in one direction.

    Of any model it says the same. Whatever holds an explanation against the model should notice,
    first of all what changes the model's weights and looks whether the explanation changes too.
    """

    name: ClassVar[str] = "deaf"

    def spoilt(self, told: Explanation, inputs: Inputs) -> Tensor:
        """The vectors' product with a direction that was drawn once."""
        generator = torch.Generator().manual_seed(DRAW)
        towards = torch.randn(inputs.values.shape[-1], generator=generator).to(inputs.values)
        return inputs.values @ towards


#: A fault, by its name: what makes one of a sound explainer.
FAULTS: Mapping[str, Callable[..., Explainer]] = {
    each.name: each for each in (Shuffled, Constant, Flipped, Scaled, Leaking, Stale, Jittery, Deaf)
}


def faulty(name: str, sound: Explainer) -> Explainer:
    """A sound explainer, broken in the way of that name. Raises ValueError if there is none."""
    if name not in FAULTS:
        raise ValueError(f"there is no fault '{name}': {nearest(name, FAULTS)}")
    return FAULTS[name](sound)
