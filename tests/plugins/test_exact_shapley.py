"""Exact Shapley values against the tests' own enumeration, and closed forms."""

from __future__ import annotations

import pytest
import torch
from explain.toys import contributions, exact_shapley, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.errors import XrecError
from xrec.explain.target import logit
from xrec.testing import small_model
from xrec_plugins.explainers.exact_shapley import ExactShapley

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


@given(slots=st.integers(1, 12), seed=st.integers(0, 999), pairs=st.booleans())
@QUICK
def test_toys_in_closed_form(slots: int, seed: int, pairs: bool) -> None:
    model, inputs = random_toy(3, slots, seed, pairs)
    told = ExactShapley().explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs), atol=1e-9, rtol=0)
    assert torch.allclose(told.values.sum(1), told.score - told.base, atol=1e-9)
    assert told.deviation is not None
    assert not told.deviation.any()
    assert told.cost.forward == int((2 ** inputs.players.sum(1)).sum())


@pytest.mark.parametrize("absent", ["remove", "baseline"])
@pytest.mark.parametrize("name", ["sequential"])
def test_a_transformer_by_enumeration(absent: str, name: str) -> None:
    model, inputs = small_model(history=3, users=3, name=name)
    inputs = inputs.with_values(inputs.values * 2)
    exact = exact_shapley(model, inputs, absent).float()
    told = ExactShapley(absent).explain(model, inputs, logit)
    assert torch.allclose(told.values, exact, atol=1e-5, rtol=0)


def test_sixteen_features_are_the_most() -> None:
    model, inputs = random_toy(rows=1, slots=17, seed=0, fixed=(0,))
    whole = inputs.with_present(torch.ones_like(inputs.present))
    told = ExactShapley().explain(model, whole, logit)
    assert torch.allclose(told.values, contributions(model, whole), atol=1e-9)
    model, inputs = random_toy(rows=1, slots=17, seed=0, fixed=())
    whole = inputs.with_present(torch.ones_like(inputs.present))
    with pytest.raises(XrecError, match="a row has 17 features, and no more than 16"):
        ExactShapley().explain(model, whole, logit)


def test_an_operator_that_needs_other_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="absent is 'resample', not remove or baseline"):
        ExactShapley(absent="resample")
