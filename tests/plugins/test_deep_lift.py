"""DeepLIFT against the rescale rule by hand, and captum called directly."""

from __future__ import annotations

import pytest
import torch
from captum.attr import DeepLift as CaptumDeepLift
from explain.toys import Additive, contributions, random_toy, toy_inputs
from torch import Tensor, nn

from xrec.explain.target import logit, margin
from xrec.models.inputs import Inputs
from xrec.testing import small_model
from xrec_plugins.explainers.deep_lift import DeepLift


class Bent(Additive):
    """score = Σ_h out_h relu(Σ_f W_hf s_f + b_h): captum has a rule for its one bend."""

    def __init__(self, slots: int) -> None:
        super().__init__(torch.ones(slots, 1))
        generator = torch.Generator().manual_seed(slots)
        self.mix, self.relu = nn.Linear(slots, 6), nn.ReLU()
        self.unused = nn.Tanh()
        self.out = torch.randn(6, generator=generator)

    def score(self, inputs: Inputs) -> Tensor:
        said = self.said(inputs)
        self.unused(said)  # the gradient does not come by
        return self.relu(self.mix(said)) @ self.out

    def exchanged(self, inputs: Inputs, items: Tensor) -> Inputs:
        """The last slot is the item."""
        values = inputs.values.clone()
        values[:, -1, 0] = items.to(values)
        return inputs.with_values(values)


def bent() -> tuple[Bent, Inputs]:
    torch.manual_seed(0)
    return Bent(5), toy_inputs(torch.randn(4, 5, 1, generator=torch.Generator().manual_seed(2)))


def rescaled(model: Bent, said: Tensor, base: Tensor) -> Tensor:
    """(B, F) by the rule: what a hidden unit changes by is shared as its inputs changed."""
    weight, bias = model.mix.weight.detach(), model.mix.bias.detach()
    before, after = base @ weight.T + bias, said @ weight.T + bias
    multiplier = (after.relu() - before.relu()) / (after - before) * model.out
    return (multiplier @ weight) * (said - base)


def test_linear_models_in_closed_form() -> None:
    model, inputs = random_toy(rows=4, slots=6, seed=3, pairs=False)
    told = DeepLift().explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs))
    assert told.error.max() < 1e-9


def test_a_bend_by_the_rescale_rule() -> None:
    model, inputs = bent()
    told = DeepLift().explain(model, inputs, logit)
    said = inputs.values[..., 0]
    assert torch.allclose(told.values, rescaled(model, said, torch.zeros_like(said)), atol=1e-5)
    assert told.error.max() < 1e-5


def test_a_margin_by_the_rescale_rule_of_both_readings() -> None:
    model, inputs = bent()
    inputs = inputs.against(torch.tensor([[2], [1], [3], [1]]))
    told = DeepLift().explain(model, inputs, margin)
    said, zero = inputs.values[..., 0], torch.zeros(4, 5)
    theirs, theirs_base = said.clone(), zero.clone()
    theirs[:, -1] = theirs_base[:, -1] = inputs.rivals[:, 0]  # type: ignore[index]
    expected = rescaled(model, said, zero)
    expected[:, :-1] -= rescaled(model, theirs, theirs_base)[:, :-1]
    assert torch.allclose(told.values, expected, atol=1e-5)
    assert told.error.max() < 1e-5


def test_is_what_captum_says_called_directly() -> None:
    model, inputs = bent()

    class Scored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, values: Tensor) -> Tensor:
            row = torch.arange(len(values)) % len(inputs)
            return self.model.score(inputs.rows(row).with_values(values))

    found = CaptumDeepLift(Scored()).attribute(inputs.values.clone(), inputs.values * 0)
    told = DeepLift().explain(model, inputs, logit)
    assert torch.allclose(told.values, found.sum(-1), atol=1e-6)


def test_without_a_rule_it_is_the_gradient_times_the_difference_and_the_error_says_so() -> None:
    model, inputs = small_model(users=4)
    start = DeepLift(baseline="mean", background=8, samples=4)
    start.fit(model, model.data_module)
    told = start.explain(model, inputs, logit)
    (base,) = start.starts(model, inputs)
    values = inputs.values.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.score(inputs.with_values(values)).sum(), values)
    expected = ((inputs.values - base) * slope).sum(-1)
    assert torch.allclose(told.values, torch.where(inputs.players, expected, 0), atol=1e-5)
    gap = (told.values.sum(1) - (told.score - told.base)).abs()
    assert torch.allclose(told.error, gap)
    assert told.error.max() > 1e-3


def test_nothing_is_left_at_the_model() -> None:
    model, inputs = bent()
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    DeepLift().explain(model, inputs, logit)
    for name, module in model.named_modules():
        assert set(vars(module)) == before[name], name
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_samples_of_users_are_averaged() -> None:
    model, inputs = small_model(users=3)
    both = DeepLift(baseline="users", samples=2, background=8)
    both.fit(model, model.data_module)
    told = both.explain(model, inputs, logit)
    with torch.no_grad():
        bases = [model.score(inputs.with_values(start)) for start in both.starts(model, inputs)]
    assert torch.allclose(told.base, torch.stack(bases).mean(0), atol=1e-5)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="baseline is 'ones'"):
        DeepLift(baseline="ones")
