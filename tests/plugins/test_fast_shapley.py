"""Fast Shapley values: near the exact ones, by no more than they say, at no more than allowed."""

from __future__ import annotations

import pytest
import torch
from explain.toys import Additive, contributions, exact_shapley, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.errors import XrecError
from xrec.explain.enumeration import enumerated
from xrec.explain.explanation import Explanation
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec_plugins.explainers.fast_shapley import FastShapley

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


class Bent(Additive):
    """An additive model's score, bent so that any number of slots interact."""

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        return (super().score(inputs) / 2).tanh()


def bent(rows: int, slots: int, seed: int = 0) -> tuple[Recommender, Inputs]:
    toy, inputs = random_toy(rows, slots, seed)
    return Bent(toy.weight.data), inputs


def explained(model: Recommender, inputs: Inputs, **options: object) -> Explanation:
    return FastShapley(**options).explain(model, inputs, logit)


@given(slots=st.integers(1, 14), seed=st.integers(0, 999), pairs=st.booleans())
@QUICK
def test_toys_in_closed_form(slots: int, seed: int, pairs: bool) -> None:
    """Games of pairs are found exactly from the first round on."""
    model, inputs = random_toy(3, slots, seed, pairs)
    told = explained(model, inputs)
    assert torch.allclose(told.values, contributions(model, inputs), atol=1e-6, rtol=0)
    assert told.cost.forward <= 3 * max(8, 4 * slots + 2)


@pytest.mark.parametrize("absent", ["remove", "baseline"])
def test_all_coalitions_make_it_exact(absent: str) -> None:
    model, inputs = small_model(history=3, users=3)
    told = explained(model, inputs, evaluations=512, error=0, absent=absent)
    exact = exact_shapley(model, inputs, absent).float()
    assert torch.allclose(told.values, exact, atol=1e-5, rtol=0)
    assert not told.error.any()


def test_reaches_the_error_that_was_asked_for() -> None:
    model, inputs = bent(rows=30, slots=15)
    exact = enumerated(model, inputs, logit, "remove")[0]
    before = 0
    for error in (0.3, 0.1, 0.03):
        told = explained(model, inputs, error=error, evaluations=4096)
        assert bool((told.error <= error * told.values.norm(dim=1) + 1e-12).all())
        gap = (told.values - exact).norm(dim=1) / exact.norm(dim=1)
        assert float(gap.mean()) < 1.2 * error
        assert told.cost.forward > before
        before = told.cost.forward
        assert torch.allclose(told.values.sum(1), told.score - told.base, atol=1e-6)


@pytest.mark.parametrize("evaluations", [60, 96])
def test_intervals_cover_what_they_should(evaluations: int) -> None:
    """Of a transformer's values, over seeds: 95 % intervals, right nine times in ten or more."""
    model, inputs = small_model(history=8, users=6, seed=2)
    inputs = inputs.with_values(inputs.values * 3)
    exact = enumerated(model, inputs, logit, "remove")[0]
    some = inputs.players & (inputs.players.sum(1, keepdim=True) > 9)
    right, count = 0, 0
    for seed in range(10):
        told = explained(model, inputs, evaluations=evaluations, error=0, seed=seed)
        assert told.deviation is not None
        right += int(((told.values - exact).abs() <= 1.96 * told.deviation + 1e-6)[some].sum())
        count += int(some.sum())
    assert count > 300
    assert right / count > 0.88


def test_rows_that_are_done_are_asked_no_more() -> None:
    model, inputs = bent(rows=6, slots=16)
    easy = torch.zeros_like(inputs.values)
    easy[::2] = inputs.values[::2]  # every other row is worth nothing, and known at once
    told = explained(model, inputs.with_values(easy), error=0.02, evaluations=1024)
    each = [
        explained(
            model, inputs.with_values(easy).rows(slice(at, at + 1)), error=0.02, evaluations=1024
        ).cost.forward
        for at in range(6)
    ]
    assert told.cost.forward == sum(each)
    assert max(each[1::2]) < min(each[::2])


@given(seed=st.integers(0, 99), evaluations=st.integers(60, 400))
@QUICK
def test_costs_no_more_than_it_was_given(seed: int, evaluations: int) -> None:
    model, inputs = bent(rows=3, slots=14, seed=seed)
    for error in (0, 0.01):
        told = explained(model, inputs, evaluations=evaluations, error=error)
        assert told.cost.forward <= 3 * evaluations


def test_many_features() -> None:
    model, inputs = bent(rows=2, slots=70)
    one = explained(model, inputs, evaluations=600, error=0)
    two = explained(model, inputs, evaluations=600, error=0, seed=1)
    gap = (one.values - two.values).norm(dim=1)
    assert bool((gap < 2 * (one.error + two.error)).all())
    assert bool((one.error < 0.3 * one.values.norm(dim=1)).all())


def test_too_few_evaluations_are_refused() -> None:
    model, inputs = bent(rows=2, slots=40)
    n = int(inputs.players.sum(1).max())
    with pytest.raises(XrecError, match=f"a row has {n} features, and 50 evaluations are too few"):
        explained(
            model, inputs.rows(inputs.players.sum(1).argsort(descending=True)), evaluations=50
        )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"evaluations": 7}, "evaluations is 7, it must be at least 8"),
        ({"error": -0.1}, "error is -0.1, it must be from 0 to below 1"),
        ({"error": 1}, "error is 1, it must be from 0 to below 1"),
        ({"absent": "resample"}, "absent is 'resample', not remove or baseline"),
    ],
)
def test_options_out_of_range_are_refused(option: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FastShapley(**option)
