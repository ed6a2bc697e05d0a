"""Adaptive Integrated Gradients against closed forms, and many steps of captum's."""

from __future__ import annotations

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
from xrec_plugins.explainers.adaptive_integrated_gradients import AdaptiveIntegratedGradients
from xrec_plugins.explainers.integrated_gradients import IntegratedGradients

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


class Bend(Additive):
    """score = tanh(Σ s): the larger the slots, the sharper the bend, and s_f / Σ s of it is f's."""

    def score(self, inputs: Inputs) -> Tensor:
        return torch.tanh(self.said(inputs).sum(1))


def bend(*rows: list[float]) -> tuple[Additive, Inputs]:
    values = torch.tensor(rows, dtype=torch.double)
    return Bend(torch.ones(values.shape[1], 1, dtype=torch.double)), toy_inputs(values[..., None])


def wild() -> tuple[Recommender, Inputs]:
    """The sequential model with larger vectors, so that its path is far from straight."""
    model, inputs = small_model(history=6, users=6, layers=2, width=8)
    return model.double(), inputs.with_values(inputs.values.double() * 2)


@given(slots=st.integers(1, 8), seed=st.integers(0, 999), pairs=st.booleans())
@QUICK
def test_linear_models_and_products_in_closed_form(slots: int, seed: int, pairs: bool) -> None:
    model, inputs = random_toy(3, slots, seed, pairs)
    told = AdaptiveIntegratedGradients().explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs), atol=1e-10)
    assert told.error.max() < 1e-10
    assert told.steps is not None
    assert told.steps.tolist() == [13] * 3


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8])
def test_bends_in_closed_form_and_easy_rows_stop_early(tolerance: float) -> None:
    model, inputs = bend([0.1, 0.2], [-3.0, 9.0], [500.0, -100.0])
    explainer = AdaptiveIntegratedGradients(tolerance=tolerance)
    told = explainer.explain(model, inputs, logit)
    said = inputs.values[..., 0]
    expected = said / said.sum(1, keepdim=True) * torch.tanh(said.sum(1, keepdim=True))
    assert torch.allclose(told.values, expected, atol=3 * tolerance)
    assert told.error.max() <= tolerance
    assert told.steps is not None
    assert told.steps.tolist() == sorted(told.steps.tolist())
    assert told.steps[0] <= 25
    assert told.steps[2] > 1.5 * told.steps[0]
    assert told.cost.forward == told.cost.backward == int(told.steps.sum())  # score and base too


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_is_what_many_steps_of_captums_come_to(tolerance: float) -> None:
    model, inputs = wild()
    start = torch.where(inputs.features.fixed[..., None], inputs.values, 0)

    def scored(values: Tensor) -> Tensor:
        row = torch.arange(len(values)) % len(inputs)
        return model.score(inputs.rows(row).with_values(values))

    found = Captum(scored).attribute(inputs.values, baselines=start, n_steps=400).sum(-1)
    told = AdaptiveIntegratedGradients(tolerance=tolerance).explain(model, inputs, logit)
    assert torch.allclose(told.values, torch.where(inputs.players, found, 0), atol=5 * tolerance)
    assert told.error.max() <= tolerance
    with torch.no_grad():
        assert torch.allclose(told.score, model.score(inputs))
        assert torch.allclose(told.base, model.score(inputs.with_values(start)))


def test_a_tighter_tolerance_takes_more_steps() -> None:
    model, inputs = wild()
    steps = []
    for tolerance in (1e-1, 1e-4, 1e-7, 1e-10):
        told = AdaptiveIntegratedGradients(tolerance=tolerance).explain(model, inputs, logit)
        assert told.steps is not None
        assert told.error.max() <= tolerance
        steps.append(int(told.steps.sum()))
    assert steps == sorted(set(steps))


def test_single_precision_is_not_asked_for_more_than_it_has() -> None:
    model, inputs = wild()
    model, inputs = model.float(), inputs.with_values(inputs.values.float())
    told = AdaptiveIntegratedGradients(tolerance=1e-12).explain(model, inputs, logit)
    assert told.steps is not None
    assert told.steps.max() < 200  # not the 513 that it might take
    assert told.error.max() < 1e-5


def test_where_the_steps_do_not_do_the_error_says_so() -> None:
    model, inputs = bend([0.1, 0.2], [4000.0, 2000.0])
    told = AdaptiveIntegratedGradients(tolerance=1e-6, max_steps=30).explain(model, inputs, logit)
    assert told.steps is not None
    assert told.steps.max() <= 30
    assert told.error[0] <= 1e-6
    assert told.error[1] > 1e-2


@pytest.mark.parametrize("rows_at_once", [1, 5, 40])
def test_a_row_alone_and_in_small_parts_is_explained_as_among_others(
    monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    model, inputs = wild()
    explainer = AdaptiveIntegratedGradients(tolerance=1e-6)
    whole = explainer.explain(model, inputs, logit)
    monkeypatch.setattr(gradients, "VECTORS", rows_at_once * (inputs.values[0].nbytes + 1))
    parts = explainer.explain(model, inputs, logit)
    assert torch.allclose(parts.values, whole.values, atol=1e-10)
    assert whole.steps is not None
    assert parts.steps is not None
    assert parts.steps.tolist() == whole.steps.tolist()
    for row in range(len(inputs)):
        alone = explainer.explain(model, inputs.rows(slice(row, row + 1)), logit)
        assert torch.allclose(alone.values[0], whole.values[row], atol=1e-10)
        assert alone.steps is not None
        assert alone.steps[0] == whole.steps[row]


@pytest.mark.parametrize("baseline", ["padding", "mean", "users"])
def test_baselines_are_those_of_integrated_gradients(baseline: str) -> None:
    model, inputs = small_model(users=4)
    options = {"baseline": baseline, "samples": 3, "background": 8, "seed": 1}
    ours = AdaptiveIntegratedGradients(tolerance=1e-5, **options)  # type: ignore[arg-type]
    theirs = IntegratedGradients(100, **options)  # type: ignore[arg-type]
    for explainer in (ours, theirs):
        explainer.fit(model, model.data_module)
    mine, captums = (each.explain(model, inputs, logit) for each in (ours, theirs))
    assert torch.allclose(mine.values, captums.values, atol=1e-3)
    assert torch.allclose(mine.base, captums.base, atol=1e-5)
    assert mine.steps is not None
    assert int(mine.steps.sum()) == mine.cost.forward
    if baseline == "users":
        assert mine.steps.min() >= 3 * 25


def test_the_target_is_what_is_explained() -> None:
    model, inputs = wild()
    explainer = AdaptiveIntegratedGradients(tolerance=1e-7)
    plain = explainer.explain(model, inputs, logit)
    told = explainer.explain(model, inputs, lambda m, i: -3 * m.score(i))
    assert torch.allclose(told.values, -3 * plain.values, atol=1e-5)


def test_steps_go_with_their_rows() -> None:
    model, inputs = bend([0.1, 0.2], [500.0, -100.0])
    told = AdaptiveIntegratedGradients().explain(model, inputs, logit)
    assert told.steps is not None
    some = told.rows(torch.tensor([1])).steps
    assert some is not None
    assert some.tolist() == [told.steps[1]]


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="tolerance is 0, it must be above 0"):
        AdaptiveIntegratedGradients(tolerance=0)
    with pytest.raises(ValueError, match="max_steps is 12, it must be at least 13"):
        AdaptiveIntegratedGradients(max_steps=12)
