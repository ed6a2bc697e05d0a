"""Explaining a batch of any size within a bound of memory."""

from __future__ import annotations

import pytest
import torch

from xrec.explain.bounded import explain_within
from xrec.explain.explainer import Explainer
from xrec.explain.memory import bound, bounded, peak_bytes
from xrec.explain.target import logit
from xrec.plugins import factory
from xrec.testing import small_model

NAMES = ("leave_one_out", "kernel_shap", "integrated_gradients", "fast_shapley")


def made(name: str) -> Explainer:
    for package in {"kernel_shap": ["shap"], "integrated_gradients": ["captum"]}.get(name, []):
        pytest.importorskip(package)
    explainer: Explainer = factory("explainer", name)()
    return explainer


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_any_size_stays_within_the_bound(name: str):
    explainer = made(name)
    model, inputs = small_model(users=4)
    few = inputs.rows(torch.arange(40) % 4)
    alone = peak_bytes(lambda: explainer.explain(model, inputs.rows(slice(0, 1)), logit))
    limit = max(3 * alone, 1_500_000)
    found = []

    def explain() -> None:
        found.append(explain_within(limit, explainer, model, few, logit))

    assert peak_bytes(explain) <= limit + 40 * 1000  # and what the explanations themselves hold
    whole = explainer.explain(model, few, logit)
    assert torch.allclose(found[0].values, whole.values, atol=1e-5)
    assert found[0].cost.forward >= whole.cost.forward
    assert len(found[0]) == 40
    assert found[0].explainer == name


def test_without_the_bound_a_batch_takes_more():
    model, inputs = small_model(users=4)
    few = inputs.rows(torch.arange(400) % 4)
    explainer = made("leave_one_out")
    assert peak_bytes(lambda: explainer.explain(model, few, logit)) > 5_000_000


def test_the_bound_holds_within_alone():
    before = bound()
    with bounded(1000):
        assert bound() == 1000
    with pytest.raises(ZeroDivisionError), bounded(1000):
        _ = 1 / 0
    assert bound() == before


def test_one_row_is_explained_whatever_the_bound():
    model, inputs = small_model(users=1)
    told = explain_within(1, made("leave_one_out"), model, inputs, logit)
    assert len(told) == 1
