"""Layer conductance against a linear model, captum called directly, and its sum by hand."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerConductance as Captum
from explain.toys import random_toy, toy_inputs
from torch import Tensor

from xrec.data.features import ITEM
from xrec.errors import XrecError
from xrec.explain.readings import laid_out
from xrec.explain.target import logit, margin
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec_plugins.explainers.layer_conductance import LayerConductance


def scored(model: Recommender, inputs: Inputs):
    def said(values: Tensor) -> Tensor:
        row = torch.arange(len(values)) % len(inputs)
        return model.score(inputs.rows(row).with_values(values))

    return said


@pytest.mark.parametrize("steps", [3, 20])
def test_is_what_captum_says_called_directly(steps: int) -> None:
    model, inputs = small_model(users=4, width=8, layers=3)
    start = torch.where(inputs.players[..., None], 0, inputs.values)
    for layer in (0, 1):
        told = LayerConductance(layer=layer, steps=steps).explain(model, inputs, logit)
        found = Captum(scored(model, inputs), model.layers_read[layer]).attribute(
            inputs.values, baselines=start, n_steps=steps
        )[0]  # the layer gives attention too
        slots = found.shape[1]
        expected = torch.where(inputs.players[:, :slots], found.sum(-1), 0)
        assert torch.allclose(told.values[:, :slots], expected, atol=1e-5)
        assert not told.values[:, slots:].any()  # the item's slots go past the layers
    assert told.error.isnan().all()


def test_all_that_flows_through_the_layer_is_the_change_that_the_history_makes() -> None:
    """Fixed slots included, with the item's vectors held, it adds up to score less base."""
    model, inputs = small_model(users=4, width=8)
    held = inputs.features.group == ITEM
    start = torch.where((inputs.players & ~held)[..., None], 0, inputs.values)
    states = Captum(scored(model, inputs), model.layers_read[0]).attribute(
        inputs.values, baselines=start, n_steps=400
    )[0]
    with torch.no_grad():
        change = model.score(inputs) - model.score(inputs.with_values(start))
    assert torch.allclose(states.sum((1, 2)), change, atol=0.02)


def test_a_margin_is_the_difference_of_what_flows_to_the_score_and_to_the_runner_ups() -> None:
    model, inputs = small_model(users=4, width=8)
    inputs = inputs.against(torch.tensor([[5], [9], [2], [7]]))
    told = LayerConductance(steps=10).explain(model, inputs, margin)
    assert inputs.rivals is not None
    other = model.exchanged(inputs, inputs.rivals[:, 0])
    user = inputs.features.group != ITEM
    start = torch.where(inputs.players[..., None], 0, inputs.values)
    rival = torch.where((inputs.players & user)[..., None], 0, other.values)
    found = [
        Captum(scored(model, of), model.layers_read[0])
        .attribute(of.values, baselines=base, n_steps=10)[0]
        .sum(-1)
        for of, base in ((inputs, start), (other, rival))
    ]
    slots = found[0].shape[1]
    expected = torch.where(inputs.players[:, :slots], found[0] - found[1], 0)
    assert torch.allclose(told.values[:, :slots], expected.detach(), atol=1e-5)


def test_several_readings_are_laid_out_on_the_slots_of_the_user() -> None:
    inputs = toy_inputs(torch.ones(1, 4, 1))
    inputs.features.group[:, 3] = ITEM
    found = torch.tensor([[[1.0, 2, 3], [10, 20, 30]]])
    assert laid_out(found, inputs, 1).tolist() == [[0, 11, 22, 3]]
    assert laid_out(found.repeat(1, 1, 2), inputs, 1).tolist() == [[0, 11, 22, 3]]


def test_the_model_is_left_as_it_was() -> None:
    model, inputs = small_model(users=4, width=8)
    LayerConductance(steps=2).explain(model, inputs, logit)
    with pytest.raises(XrecError):
        LayerConductance(layer=1, steps=2).explain(model, inputs, logit)
    assert not any(module._forward_hooks for module in model.modules())


def test_layers_that_are_not_there_or_give_too_little_are_refused() -> None:
    model, inputs = small_model(users=2, width=8)
    with pytest.raises(XrecError) as raised:
        LayerConductance(layer=2).explain(model, inputs, logit)
    assert str(raised.value) == (
        "explainer 'layer_conductance': the model SequentialRecommender has 2 layers to look into, "
        "and none at 2"
    )
    with pytest.raises(XrecError, match="gives states only of the slots that the score is made of"):
        LayerConductance(layer=-1).explain(model, inputs, logit)
    toy, inputs = random_toy(rows=2, slots=3, seed=0)
    with pytest.raises(XrecError, match="the model Pairwise has 0 layers"):
        LayerConductance().explain(toy, inputs, logit)
    with pytest.raises(ValueError, match="steps is 0, it must be at least 1"):
        LayerConductance(steps=0)
