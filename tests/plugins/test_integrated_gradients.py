"""Integrated Gradients against closed forms, an own quadrature, and captum called directly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as Captum
from explain.toys import Additive, contributions, random_toy, toy_inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.explain import gradients
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec_plugins.explainers.integrated_gradients import IntegratedGradients

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=25)


class Cubic(Additive):
    """score = s_0² s_1, whose Integrated Gradients are two thirds and one third of it."""

    def score(self, inputs: Inputs) -> Tensor:
        said = self.said(inputs)
        return said[:, 0] ** 2 * said[:, 1]


class Counting(Additive):
    """An additive model to which a slot says 1 by being there, whatever its vector."""

    def score(self, inputs: Inputs) -> Tensor:
        return super().score(inputs) + inputs.present.sum(1)


def cubic() -> tuple[Additive, Inputs]:
    values = torch.tensor([[2.0, 3.0], [-1.0, 0.5]], dtype=torch.double)
    return Cubic(torch.ones(2, 1, dtype=torch.double)), toy_inputs(values[..., None])


def wild() -> tuple[Recommender, Inputs]:
    """The sequential model with larger vectors, so that its path is far from straight."""
    model, inputs = small_model(history=6, users=8, layers=2, width=8)
    return model, inputs.with_values(inputs.values * 2)


@given(slots=st.integers(1, 8), seed=st.integers(0, 999), steps=st.integers(1, 9))
@QUICK
def test_linear_models_in_closed_form(slots: int, seed: int, steps: int) -> None:
    model, inputs = random_toy(3, slots, seed, pairs=False)
    told = IntegratedGradients(steps).explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs), atol=1e-6)
    assert told.error.max() < 1e-6  # captum keeps its points in single precision


@given(slots=st.integers(1, 8), seed=st.integers(0, 999), steps=st.integers(1, 9))
@QUICK
def test_products_in_closed_form(slots: int, seed: int, steps: int) -> None:
    # The quadrature of n points is exact to degree 2n - 1: one is enough for a product.
    model, inputs = random_toy(3, slots, seed)
    told = IntegratedGradients(steps).explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs), atol=1e-6)
    assert told.error.max() < 1e-6  # captum keeps its points in single precision


def test_a_cubic_in_closed_form_and_the_error_where_steps_are_too_few() -> None:
    model, inputs = cubic()
    score = torch.tensor([12.0, 0.5], dtype=torch.double)
    told = IntegratedGradients(2).explain(model, inputs, logit)
    assert torch.allclose(told.score, score)
    assert torch.allclose(told.base, torch.zeros(2, dtype=torch.double))
    assert torch.allclose(told.values, score[:, None] * torch.tensor([2 / 3, 1 / 3]).double())
    assert told.error.max() < 1e-9
    # One point, half way: gradients (2 s_0 s_1, s_0²) / 4 there.
    told = IntegratedGradients(1).explain(model, inputs, logit)
    assert torch.allclose(told.values, score[:, None] * torch.tensor([1 / 2, 1 / 4]).double())
    assert torch.allclose(told.error, score / 4)


def test_the_baseline_is_zero_vectors_in_slots_that_stay_present() -> None:
    toy, inputs = random_toy(rows=3, slots=6, seed=0, pairs=False, fixed=(2,))
    told = IntegratedGradients(3).explain(Counting(toy.weight.data), inputs, logit)
    base = toy.said(inputs)[:, 2] + inputs.present.sum(1)
    assert torch.allclose(told.base, base)
    assert torch.allclose(told.values, contributions(toy, inputs), atol=1e-6)


def test_sums_to_the_score_within_the_error_it_reports() -> None:
    model, inputs = wild()
    for steps in (3, 50):
        told = IntegratedGradients(steps).explain(model, inputs, logit)
        gap = (told.values.double().sum(1) - (told.score - told.base).double()).abs()
        assert torch.allclose(gap, told.error.double(), atol=1e-5)
    assert told.error.max() < 1e-3 * (told.score - told.base).abs().max()


def test_more_steps_err_less() -> None:
    model, inputs = wild()
    model, inputs = model.double(), inputs.with_values(inputs.values.double())
    error = [
        float(IntegratedGradients(steps).explain(model, inputs, logit).error.mean())
        for steps in (2, 8, 32, 128)
    ]
    assert error == sorted(error, reverse=True)
    assert error[-1] < error[0] / 100


@pytest.mark.parametrize("steps", [1, 10, 50])
def test_is_what_captum_says_called_directly_row_by_row(steps: int) -> None:
    model, inputs = wild()
    told = IntegratedGradients(steps).explain(model, inputs, logit)
    for row in range(len(inputs)):
        one = inputs.rows(slice(row, row + 1))

        def scored(values: Tensor, one: Inputs = one) -> Tensor:
            return model.score(one.rows(torch.zeros(len(values), dtype=int)).with_values(values))

        start = torch.where(one.features.fixed[..., None], one.values, 0)
        found = Captum(scored).attribute(one.values, baselines=start, n_steps=steps).sum(-1)[0]
        players = one.players[0]
        assert torch.allclose(told.values[row][players], found[players], atol=1e-5)
        assert not told.values[row][~players].any()


def test_is_the_gauss_legendre_sum_of_gradients_on_the_path() -> None:
    model, inputs = wild()
    model, inputs = model.double(), inputs.with_values(inputs.values.double())
    start = torch.where(inputs.features.fixed[..., None], inputs.values, 0)
    whole = torch.zeros_like(inputs.values)
    for node, weight in zip(*np.polynomial.legendre.leggauss(7), strict=True):
        at = (start + (1 + node) / 2 * (inputs.values - start)).requires_grad_()
        (slope,) = torch.autograd.grad(model.score(inputs.with_values(at)).sum(), at)
        whole += weight / 2 * slope
    expected = ((inputs.values - start) * whole).sum(-1)
    told = IntegratedGradients(7).explain(model, inputs, logit)
    assert torch.allclose(told.values, torch.where(inputs.players, expected, 0), atol=1e-8)


@pytest.mark.parametrize("at_once", [1, 8, 20, 64])
def test_rows_at_once_change_nothing(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    model, inputs = wild()
    whole = IntegratedGradients(10).explain(model, inputs, logit)
    bytes_a_row = inputs.values[0].nbytes + 1
    monkeypatch.setattr(gradients, "VECTORS", at_once * bytes_a_row)
    parts = IntegratedGradients(10).explain(model, inputs, logit)
    assert torch.allclose(parts.values, whole.values, atol=1e-5)
    assert parts.cost.forward == whole.cost.forward


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_costs_what_it_says(steps: int) -> None:
    model, inputs = small_model(users=4)
    cost = IntegratedGradients(steps).explain(model, inputs, logit).cost
    assert (cost.forward, cost.backward) == (steps * 4 + 2 * 4, steps * 4)


def test_the_target_is_what_is_explained() -> None:
    model, inputs = wild()
    plain = IntegratedGradients(5).explain(model, inputs, logit)
    told = IntegratedGradients(5).explain(model, inputs, lambda m, i: -3 * m.score(i))
    assert torch.allclose(told.values, -3 * plain.values, atol=1e-5)
    assert torch.allclose(told.score, -3 * plain.score, atol=1e-5)


def test_absent_slots_have_no_say() -> None:
    model, inputs = wild()
    junk = inputs.with_values(torch.where(inputs.present[..., None], inputs.values, 1e3))
    told = IntegratedGradients(5).explain(model, junk, logit)
    plain = IntegratedGradients(5).explain(model, inputs, logit)
    assert torch.allclose(told.values, plain.values, atol=1e-5)


def test_steps_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="steps is 0"):
        IntegratedGradients(0)
