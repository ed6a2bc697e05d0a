"""Attention rollout against one written with numpy, layer by layer and head by head."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from explain.toys import Additive, random_toy, toy_inputs
from torch import Tensor

from xrec.data.features import BEHAVIOUR, FIXED, ITEM
from xrec.errors import XrecError
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.testing import small_model
from xrec_plugins.explainers.attention_rollout import AttentionRollout


def rollout(maps: list[np.ndarray]) -> np.ndarray:
    """(F, F) of one row's maps (H, F, F), the first layer first (Abnar and Zuidema, 2020)."""
    slots = maps[0].shape[-1]
    reach = np.eye(slots)
    for heads in maps:
        mixed = 0.5 * np.mean(heads, axis=0) + 0.5 * np.eye(slots)
        mixed /= mixed.sum(-1, keepdims=True)
        reach = mixed @ reach
    return reach


class Attending(Additive):
    """A toy that looks at its slots by the maps it is given, each (B, H, F, F)."""

    attends: ClassVar[bool] = True
    maps: tuple[Tensor, ...]

    def attend(self, inputs: Inputs) -> list[Tensor]:
        return list(self.maps)


def attending(layers: int, rows: int = 3, slots: int = 6) -> tuple[Attending, Inputs]:
    generator = torch.Generator().manual_seed(layers)
    model = Attending(torch.ones(slots, 2))
    size = (rows, 2, slots, slots)
    model.maps = tuple(torch.randn(size, generator=generator).softmax(-1) for _ in range(layers))
    present = torch.rand(rows, slots, generator=generator) < 0.7
    present[:, [0, 3]] = True
    return model, toy_inputs(torch.ones(rows, slots, 2), present, fixed=(0, 3))


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_by_hand(layers: int) -> None:
    model, inputs = attending(layers)
    told = AttentionRollout().explain(model, inputs, logit)
    for row in range(len(inputs)):
        reach = rollout([attention[row].numpy() for attention in model.maps])
        expected = (reach[0] + reach[3]) / 2  # what the two fixed slots see
        expected[~inputs.players[row].numpy()] = 0
        assert told.values[row].numpy() == pytest.approx(expected, abs=1e-6)


def test_a_fixed_slot_that_is_absent_does_not_look() -> None:
    model, inputs = attending(layers=2)
    present = inputs.present.clone()
    present[:, 3] = False
    told = AttentionRollout().explain(model, inputs.with_present(present), logit)
    for row in range(len(inputs)):
        expected = rollout([attention[row].numpy() for attention in model.maps])[0]
        expected[~inputs.players[row].numpy()] = 0
        assert told.values[row].numpy() == pytest.approx(expected, abs=1e-6)


def test_two_layers_by_hand_in_numbers() -> None:
    model = Attending(torch.ones(2, 2))
    first = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 2, -1, -1)
    second = torch.tensor([[0.5, 0.5], [0.0, 1.0]]).expand(1, 2, -1, -1)
    model.maps = (first, second)
    told = AttentionRollout().explain(model, toy_inputs(torch.ones(1, 2, 2), fixed=(0,)), logit)
    # Mixed: [[.5, .5], [.5, .5]], then [[.75, .25], [0, 1]]; the first row of the second's product
    # with the first is [.5, .5]. The other way round it would be [.375, .625].
    assert told.values.tolist() == [[0, 0.5]]


def test_of_the_sequential_model() -> None:
    model, inputs = small_model(history=5, users=4, layers=3, width=8)
    told = AttentionRollout().explain(model, inputs, logit)
    with torch.no_grad():
        maps = [attention.numpy() for attention in model.attend(inputs)]
    group = inputs.features.group
    for row in range(4):
        reach = rollout([attention[row] for attention in maps])
        query = int((group[row] == FIXED).nonzero())
        expected = np.where(inputs.players[row].numpy(), reach[query], 0)
        assert told.values[row].numpy() == pytest.approx(expected, abs=1e-6)
    # The candidate is not attended to: it meets the user's state after the last layer.
    assert not told.values[group == ITEM].any()
    assert (told.values[(group == BEHAVIOUR) & inputs.present] > 0).all()
    assert (told.values.sum(1) <= 1 + 1e-6).all()


def test_score_base_and_cost() -> None:
    model, inputs = small_model(history=5, users=4)
    told = AttentionRollout().explain(model, inputs, logit)
    with torch.no_grad():
        assert torch.allclose(told.score, model.score(inputs), atol=1e-6)
        base = model.score(inputs.with_present(inputs.features.fixed))
    assert torch.allclose(told.base, base, atol=1e-6)
    gap = (told.values.sum(1) - (told.score - told.base)).abs()
    assert torch.allclose(told.error, gap, atol=1e-6)
    assert (told.cost.forward, told.cost.backward) == (3 * 4, 0)  # to attend, the score, the base


def test_a_model_that_does_not_attend_is_refused() -> None:
    model, inputs = random_toy(rows=2, slots=3, seed=0)
    with pytest.raises(XrecError, match="the model Pairwise does not attend; choose a gradient"):
        AttentionRollout().explain(model, inputs, logit)
    with pytest.raises(XrecError, match="Pairwise has no attention to show"):
        model.attend(inputs)
