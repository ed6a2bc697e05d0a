"""Explainers that are broken, each in one way: what the gates must catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from xrec.explain.explainer import Explainer
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing.toys import LinearToy
from xrec_plugins.explainers.kernel_shap import KernelShap

Change = Callable[[Recommender, Inputs, Explanation], Explanation | None]
SOUND = KernelShap(evaluations=130)  # all coalitions of the toys' seven features


@dataclass
class Spoilt:
    """A sound explainer, and then one thing more."""

    change: Change

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        told = SOUND.explain(model, inputs, target)
        return self.change(model, inputs, told) or told


@dataclass
class OneOrder:
    """What each feature adds as they come in, from the first slot to the last."""

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        slots = inputs.present.shape[1]
        with probe(model) as cost:
            game = Game(model, inputs, target)
            first = torch.ones(slots + 1, slots).tril(-1).bool()
            values = game.value(first.expand(len(inputs), -1, -1)).diff(dim=1)
            score, base = game.everything(), game.nothing()
        return Explanation.of(inputs, values, score, base, cost, "one_order")


class Growing:
    """Each call says a little more than the one before."""

    calls = 0

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        self.calls += 1
        told = SOUND.explain(model, inputs, target)
        return replace(told, values=told.values * (1 + 2e-5 * self.calls))


def shuffles(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    values = told.values.clone()
    for row, mine in enumerate(inputs.players):
        values[row, mine] = told.values[row, mine].roll(1)
    return replace(told, values=values)


def flips(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=-told.values)


def evens_out(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    share = told.values.sum(1) / inputs.players.sum(1)
    return replace(told, values=share[:, None] * inputs.players)


def counts_slots(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation | None:
    odd = inputs.present.shape[1] % 2  # as three more columns of padding change it
    sequential = not isinstance(model, LinearToy)
    return replace(told, values=told.values * (1 + odd)) if sequential else None


def values_padding(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=torch.where(inputs.present, told.values, 0.5))


def looks_at_the_batch(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=told.values * (1 if len(inputs) == 3 else 1.1))


def looks_at_the_place(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    late = torch.arange(len(inputs)) > 2
    return replace(told, values=told.values * (1 + late[:, None]))


def leaves_gradients(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    model.score(inputs).sum().backward()


def thaws(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    model.requires_grad_(True)


def learns(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    list(model.parameters())[-1].data.add_(1e-6)


def asks_for_gradients(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    inputs.values.requires_grad_(True)


def evaluates(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    model.eval()


def draws_from_torch(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    torch.rand(())


def draws_from_numpy(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    np.random.random()


def seeds_numpy(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    np.random.seed(0)


def is_not_a_number(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=told.values * torch.nan)


def nothing(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    pass


@dataclass
class Bare:
    """An explainer without its excuses."""

    inner: Explainer

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        return self.inner.explain(model, inputs, target)
