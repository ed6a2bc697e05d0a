"""Saliency and gradient × input against closed forms, and captum called directly."""

from __future__ import annotations

import pytest
import torch
from captum.attr import InputXGradient
from captum.attr import Saliency as CaptumSaliency
from explain.toys import contributions, random_toy
from torch import Tensor

from xrec.explain.target import logit
from xrec.testing import small_model
from xrec_plugins.explainers.gradient_x_input import GradientXInput
from xrec_plugins.explainers.saliency import Saliency


def test_linear_models_in_closed_form() -> None:
    model, inputs = random_toy(rows=4, slots=6, seed=3, pairs=False)
    steep = model.weight.detach().abs().sum(-1)
    told = Saliency().explain(model, inputs, logit)
    assert torch.allclose(told.values, torch.where(inputs.players, steep, 0))
    assert told.error.isnan().all()
    told = GradientXInput().explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs))
    assert torch.allclose(told.values.sum(1), told.score - told.base)


@pytest.mark.parametrize("name", ["saliency", "gradient_x_input"])
def test_is_what_captum_says_called_directly(name: str) -> None:
    model, inputs = small_model(users=5)
    one = inputs.values.clone().requires_grad_()

    def scored(values: Tensor) -> Tensor:
        return model.score(inputs.with_values(values))

    if name == "saliency":
        told = Saliency().explain(model, inputs, logit)
        found = CaptumSaliency(scored).attribute(one).sum(-1)
    else:
        told = GradientXInput().explain(model, inputs, logit)
        found = InputXGradient(scored).attribute(one).sum(-1)
    assert torch.allclose(told.values, torch.where(inputs.players, found, 0), atol=1e-5)
    assert (told.cost.forward, told.cost.backward) == (3 * 5, 5)
