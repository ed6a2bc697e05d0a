"""Bytes that calculations take, and that masked evaluation keeps to its bound."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from xrec.errors import XrecError
from xrec.explain.game import Game
from xrec.explain.memory import Meter, peak_bytes, rows_within
from xrec.explain.target import margin
from xrec.testing import small_model

MB = 1_000_000


def test_the_peak_is_of_what_lives_at_once():
    def call() -> torch.Tensor:
        one = torch.ones(1000, 250)  # 1 MB
        two = one * 2  # 2 MB are held
        del one
        part = two.view(-1)[:10]  # a view holds nothing of its own
        both = torch.cat([two, two])  # 3 MB
        del two, both
        return part

    assert peak_bytes(call) == 3 * MB


def test_what_is_changed_in_place_or_was_there_before_does_not_count():
    given = torch.ones(1000, 250)
    assert peak_bytes(lambda: given.add_(1).view(-1)) == 0


def test_gradients_count():
    given = torch.ones(1000, 250, requires_grad=True)
    assert peak_bytes(lambda: torch.autograd.grad(given.exp().sum(), given)) >= 2 * MB


def test_what_is_freed_is_no_longer_held():
    with Meter() as meter:
        one = torch.ones(1000, 250)
        assert meter.held == MB
        del one
        assert meter.held == 0
    assert meter.peak == MB


def test_rows_within_a_bound():
    assert rows_within(2000, 150) == 13
    assert rows_within(100, 150) == 1  # what cannot be had in less
    assert rows_within(100, 0) == 100


@pytest.mark.parametrize("absent", ["remove", "baseline", "resample"])
@pytest.mark.parametrize("rows", [2, 8])
@pytest.mark.parametrize("coalitions", [1, 5, 300])
def test_masked_evaluation_stays_within_its_bound(absent: str, rows: int, coalitions: int):
    bound = 300_000
    model, inputs = small_model(users=rows)
    inside = torch.rand(rows, coalitions, inputs.values.shape[1]) < 0.5
    free = Game(model, inputs, absent=absent)
    expected = free.value(inside)
    tight = Game(model, inputs, absent=absent, max_bytes=bound)
    found: list[torch.Tensor] = []
    assert peak_bytes(lambda: found.append(tight.value(inside))) <= bound
    assert torch.allclose(found[0], expected, atol=1e-5)
    assert tight.evaluations == free.evaluations


def test_without_the_bound_it_would_take_more():
    model, inputs = small_model(users=8)
    inside = torch.rand(8, 300, inputs.values.shape[1]) < 0.5
    game = Game(model, inputs)
    assert peak_bytes(lambda: game.value(inside)) > 3_000_000


def test_a_failure_on_trial_leaves_no_meter_behind():
    model, inputs = small_model(users=8)
    inside = torch.rand(8, 300, inputs.values.shape[1]) < 0.5
    with pytest.raises(XrecError) as caught:
        Game(model, replace(inputs, rivals=None), margin, max_bytes=10_000).value(inside)
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
    assert caught.value is not None
