"""Gradient-weighted rollout against one written with numpy, head by head."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from explain.toys import Additive, random_toy, toy_inputs
from torch import Tensor

from xrec.data.features import BEHAVIOUR, FIXED, ITEM
from xrec.errors import XrecError
from xrec.explain.target import logit, margin
from xrec.models.attention import Watched
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec_plugins.explainers.gradient_rollout import GradientRollout


def rollout(maps: list[np.ndarray], slopes: list[np.ndarray]) -> np.ndarray:
    """(S, S) of one row's maps and gradients (H, S, S) (Chefer et al., 2021)."""
    reach = np.eye(maps[0].shape[-1])
    for heads, slope in zip(maps, slopes, strict=True):
        reach = reach + np.maximum(heads * slope, 0).mean(axis=0) @ reach
    return reach


class Attending(Additive):
    """score = Σ_l Σ_h weight_lh · map_lh · said: its gradients by the maps are known."""

    attends: ClassVar[bool] = True
    layers: Tensor  # (L, H, F, F)

    def score(self, inputs: Inputs) -> Tensor:
        said = self.said(inputs)
        slots = said.shape[1]
        maps = [
            (said[:, None, None, :] * 0 + layer).softmax(-1).expand(-1, -1, slots, -1)
            for layer in self.layers
        ]
        if self.watching is not None:
            self.watching.append(Watched(maps, 0, slots))
        looked = [torch.einsum("bhst,bt->bhs", each, said) for each in maps]
        signs = torch.tensor([1.0, -1.0])[:, None]
        return torch.stack([(each * signs).sum((1, 2)) for each in looked]).sum(0)


def test_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    model = Attending(torch.ones(4, 1))
    model.layers = torch.randn(3, 2, 4, 4, generator=generator)
    inputs = toy_inputs(torch.randn(2, 4, 1, generator=generator), fixed=(1,))
    told = GradientRollout().explain(model, inputs, logit)
    for row in range(2):
        said = inputs.values[row, :, 0].numpy()
        slope = np.stack([np.tile(said, (4, 1)), -np.tile(said, (4, 1))])
        maps = [layer.softmax(-1).numpy() for layer in model.layers]
        expected = rollout(maps, [slope] * 3)[1]
        expected[1] = 0
        assert told.values[row].numpy() == pytest.approx(expected, abs=1e-5)
    assert told.error.isnan().all()


def watched(model: Recommender, inputs: Inputs, sign: float) -> list[np.ndarray]:
    """(S, S) relevance of each row of one reading."""
    values = inputs.values.clone().requires_grad_()
    with model.watched() as (readings):
        score = model.score(inputs.with_values(values))
    (reading,) = readings
    slopes = torch.autograd.grad(sign * score.sum(), list(reading.maps))
    maps = [each.detach().numpy() for each in reading.maps]
    return [
        rollout([each[row] for each in maps], [each[row].numpy() for each in slopes])
        for row in range(len(inputs))
    ]


def test_of_the_sequential_model() -> None:
    model, inputs = small_model(history=5, users=4, layers=3, width=8)
    told = GradientRollout().explain(model, inputs, logit)
    group = inputs.features.group
    for row, reach in enumerate(watched(model, inputs, 1)):
        query = int((group[row] == FIXED).nonzero())
        expected = np.zeros(inputs.values.shape[1])
        expected[: reach.shape[1]] = reach[query]
        expected[~inputs.players[row].numpy()] = 0
        assert told.values[row].numpy() == pytest.approx(expected, abs=1e-5)
    assert not told.values[group == ITEM].any()
    assert (told.values >= 0).all()
    assert told.values[(group == BEHAVIOUR) & inputs.present].any()
    assert (told.cost.forward, told.cost.backward) == (3 * 4, 4)


def test_a_margin_is_that_of_both_readings() -> None:
    model, inputs = small_model(history=5, users=4, layers=2, width=8)
    inputs = inputs.against(torch.tensor([[5], [9], [2], [7]]))
    assert inputs.rivals is not None
    told = GradientRollout().explain(model, inputs, margin)
    other = model.exchanged(inputs, inputs.rivals[:, 0])
    both = zip(watched(model, inputs, 1), watched(model, other, -1), strict=True)
    for row, (mine, theirs) in enumerate(both):
        query = int((inputs.features.group[row] == FIXED).nonzero())
        expected = mine[query] + theirs[query]
        players = inputs.players[row, : len(expected)].numpy()
        assert told.values[row].numpy()[: len(expected)][players] == pytest.approx(
            expected[players], abs=1e-5
        )


def test_a_model_that_does_not_attend_is_refused() -> None:
    model, inputs = random_toy(rows=2, slots=3, seed=0)
    with pytest.raises(XrecError, match="the model Pairwise does not attend; choose a gradient"):
        GradientRollout().explain(model, inputs, logit)
