"""The conformance kit passes what keeps the contract, and catches what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from explain.toys import random_toy
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, FIXED
from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.target import Target, logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import check_explainer, check_model, small_data, small_model
from xrec_plugins.models.sequential import Sequential, SequentialRecommender


class LooksAtAbsentSlots(SequentialRecommender):
    def score(self, inputs: Inputs) -> Tensor:
        return super().score(inputs) + inputs.values.mean((1, 2))


class MultipliesByPresence(SequentialRecommender):
    """Right for all numbers, but 0 times NaN is NaN."""

    def score(self, inputs: Inputs) -> Tensor:
        there = inputs.values * inputs.present[..., None]
        return super().score(inputs) + there.sum((1, 2))


class LooksAtTheBatch(SequentialRecommender):
    def score(self, inputs: Inputs) -> Tensor:
        score = super().score(inputs)
        return score - score.mean()


class LooksAtTheRowBefore(SequentialRecommender):
    def score(self, inputs: Inputs) -> Tensor:
        score = super().score(inputs)
        return score + score.roll(1) / 10


class ShowsPadding(SequentialRecommender):
    """Padding is present, as a slot whose vector is zero."""

    def embed(self, batch: Batch) -> Inputs:
        inputs = super().embed(batch)
        return inputs.with_present(inputs.present | (inputs.features.group == BEHAVIOUR))


class CountsSlots(SequentialRecommender):
    """A mean over all slots, absent ones among them."""

    def score(self, inputs: Inputs) -> Tensor:
        there = torch.where(inputs.present[..., None], inputs.values, 0)
        return super().score(inputs) + there.mean((1, 2))


class AddsToForward(SequentialRecommender):
    def forward(self, batch: Batch) -> Tensor:
        return super().forward(batch) + 0.01


class HidesTheUserInAFixedSlot(SequentialRecommender):
    """What is known of the user stays when every feature is taken away."""

    def embed(self, batch: Batch) -> Inputs:
        inputs = super().embed(batch)
        mine = (inputs.features.group == FIXED)[..., None] * torch.sin(batch.user)[:, None, None]
        return inputs.with_values(inputs.values + mine)

    def score(self, inputs: Inputs) -> Tensor:
        fixed = (inputs.features.group == FIXED)[..., None]
        return super().score(inputs) + torch.where(fixed, inputs.values, 0).sum((1, 2))


class ScoresInAColumn(SequentialRecommender):
    def score(self, inputs: Inputs) -> Tensor:
        return super().score(inputs)[:, None]


class TellsOfTheItemBefore(SequentialRecommender):
    def exchanged(self, inputs: Inputs, items: Tensor) -> Inputs:
        return replace(super().exchanged(inputs, items), item=inputs.item)


def made(kind: type[SequentialRecommender]) -> tuple[SequentialRecommender, Batch]:
    """A model of the small world, and a batch of it of which some rows are padded."""
    torch.manual_seed(0)
    data = small_data()
    model = kind(Sequential(width=8, layers=1), data, torch.randn(len(data.items), 8))
    batch = data.queries("test", torch.arange(1, 7))
    assert (batch.history == 0).any()
    return model, batch


def test_passes_the_sequential_model_and_leaves_its_weights() -> None:
    model, batch = made(SequentialRecommender)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_model(model, batch)
    after = model.state_dict()
    assert all(after[name].dtype == torch.float32 for name in before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_passes_a_model_in_training_mode() -> None:
    model, batch = made(SequentialRecommender)
    check_model(model.train(), batch)  # dropout would give two scores


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (LooksAtAbsentSlots, "an absent slot whose values are 0.0 changes the score"),
        (MultipliesByPresence, "an absent slot whose values are nan changes the score"),
        (LooksAtTheBatch, "who else is in the batch changes the score"),
        (LooksAtTheRowBefore, "who else is in the batch changes the score"),
        (ShowsPadding, "padding changes the score"),
        (CountsSlots, "padding changes the score"),
        (AddsToForward, "forward is not embed then score"),
        (HidesTheUserInAFixedSlot, "rows with nothing present score differently"),
        (TellsOfTheItemBefore, "with the item exchanged the inputs tell of another item"),
        (ScoresInAColumn, r"score gives \(6, 1\), not \(B,\)"),
    ],
)
def test_catches_a_broken_model(kind: type[SequentialRecommender], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_model(*made(kind))


Change = Callable[[Recommender, Inputs, Explanation], Explanation | None]


@dataclass
class Changed:
    """An explainer that keeps the contract, and then does one thing more."""

    change: Change

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        with probe(model) as cost:
            game = Game(model, inputs, target)
            score, base = game.everything(), game.nothing()
            values = (inputs.features.key + 1.0) * inputs.players
        told = Explanation.of(inputs, values, score, base, cost, "changed")
        return self.change(model, inputs, told) or told


def nothing(model: Recommender, inputs: Inputs, told: Explanation) -> None: ...


def trains(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    model.train()


def evaluates(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    model.eval()


def freezes(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    next(model.parameters()).requires_grad_(False)


def gives_gradients(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    model.score(inputs).sum().backward()


def learns(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    with torch.no_grad():
        next(model.parameters()).mul_(1.001)


def draws(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=told.values + torch.randn_like(told.values) * inputs.players)


def attributes_the_absent(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=told.values + 0.1 * ~inputs.present)


def attributes_the_fixed(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=told.values + 0.1 * inputs.features.fixed)


def counts_nothing(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, cost=Cost())


def is_not_a_number(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=torch.where(inputs.players, torch.nan, 0))


def is_too_short(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=told.values[:, 1:])


def errs_below_zero(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, error=-told.error - 1)


def has_one_error_for_all(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, error=told.error.sum())


def has_no_base(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, base=torch.full_like(told.base, torch.nan))


def attributes_nobody(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, present=torch.zeros_like(told.present))


def explains_the_probability(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, score=told.score.sigmoid())


def test_passes_an_explainer_that_does_nothing_more() -> None:
    check_explainer(Changed(nothing), *small_model())


def test_passes_for_another_target_and_for_a_toy() -> None:
    check_explainer(Changed(nothing), *small_model(), target=lambda m, i: -m.score(i))
    check_explainer(Changed(nothing), *random_toy(rows=3, slots=5, seed=0))


def test_passes_for_a_model_of_which_a_part_is_frozen() -> None:
    model, inputs = small_model()
    next(model.parameters()).requires_grad_(False)
    check_explainer(Changed(nothing), model, inputs)
    assert not next(model.parameters()).requires_grad


def test_catches_what_thaws_a_frozen_part() -> None:
    def thaws(model: Recommender, inputs: Inputs, told: Explanation) -> None:
        model.requires_grad_(True)

    model, inputs = small_model()
    next(model.parameters()).requires_grad_(False)
    with pytest.raises(AssertionError, match="parameters were left frozen, or thawed"):
        check_explainer(Changed(thaws), model, inputs)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (trains, "the model's mode was changed"),
        (evaluates, "the model's mode was changed"),
        (freezes, "parameters were left frozen, or thawed"),
        (gives_gradients, "parameters were left with gradients"),
        (learns, "the parameter .* was changed"),
        (draws, "asked twice, it says two things"),
        (attributes_the_absent, "a slot that is absent or fixed was given a value"),
        (attributes_the_fixed, "a slot that is absent or fixed was given a value"),
        (counts_nothing, "no forward evaluation was counted"),
        (is_not_a_number, "a value is not finite"),
        (is_too_short, "there is not one value a slot"),
        (errs_below_zero, "an error estimate is negative"),
        (has_one_error_for_all, r"the error is not \(B,\)"),
        (has_no_base, "a base is not finite"),
        (attributes_nobody, "other slots were attributed than the players"),
        (explains_the_probability, "the score is not the target's"),
    ],
)
def test_catches_a_broken_explainer(change: Change, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_explainer(Changed(change), *small_model())


def test_the_small_world_is_the_same_for_the_same_seed() -> None:
    one, two, other = small_model(seed=1), small_model(seed=1), small_model(seed=2)
    assert torch.equal(one[1].values, two[1].values)
    assert torch.equal(one[0].score(one[1]), two[0].score(two[1]))
    assert not torch.equal(one[1].values, other[1].values)
    assert logit(*one).shape == (4,)


def test_the_small_world_has_what_a_plugin_must_cope_with() -> None:
    data = small_data()
    queries = data.queries("test")
    assert (queries.history == 0).any()
    assert (queries.history != 0).all(1).any()
    assert (queries.profile == 0).any()
    _, inputs = small_model()
    assert (~inputs.present).any()
    assert inputs.features.fixed.any(1).all()
    assert int(inputs.players.sum(1).max()) <= 12  # few enough to enumerate
