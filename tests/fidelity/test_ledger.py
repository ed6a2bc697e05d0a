"""A ledger against games without a memory."""

from __future__ import annotations

import torch
from explain.toys import random_toy
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.explain.game import Game
from xrec.explain.target import logit, rank
from xrec.fidelity.ledger import Ledger, Remembering
from xrec.testing import small_model

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=30)


def coalitions(rows: int, count: int, slots: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, count, slots, generator=generator) < 0.5


@QUICK
@given(st.integers(1, 12), st.integers(0, 99), st.sampled_from(["remove", "baseline"]))
def test_what_is_remembered_is_what_is_found(count: int, seed: int, absent: str) -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=seed)
    asked = coalitions(3, count, 5, seed)
    plain, game = Game(model, inputs, absent=absent), Ledger(model, inputs).game(logit, absent)
    for some in (asked, asked.flip(1), asked[:, :1], torch.cat([asked, ~asked], dim=1)):
        assert torch.equal(game.value(some), plain.value(some))


def test_a_coalition_is_evaluated_once_for_all_who_ask() -> None:
    model, inputs = random_toy(rows=4, slots=6, seed=0)
    ledger = Ledger(model, inputs)
    asked = coalitions(4, 7, 6, seed=1)
    ledger.game(logit, "remove").value(asked)
    once = ledger.evaluations
    assert 0 < once <= 28
    ledger.game(logit, "remove").value(asked.flip(1))
    assert (ledger.asked, ledger.evaluations) == (2 * 4 * 7, once)
    ledger.game(logit, "baseline").value(asked)  # another game
    assert ledger.evaluations == 2 * once


def test_a_row_alone_has_a_memory_of_its_own() -> None:
    model, inputs = random_toy(rows=4, slots=6, seed=0)
    game = Ledger(model, inputs).game(logit, "remove")
    asked = coalitions(4, 5, 6, seed=2)
    found = game.value(asked)
    alone = game.alone(2)
    assert isinstance(alone, Remembering)
    assert torch.equal(alone.value(asked[2:3]), found[2:3])
    assert 0 < alone.evaluations <= alone.asked == 5


def test_ranks_are_among_everyone() -> None:
    model, inputs = small_model(users=3)
    assert inputs.rivals is not None
    everyone = inputs.rivals[:, :4]
    all_in = torch.ones_like(inputs.present)[:, None]
    found = Ledger(model, inputs, everyone).game(rank, "remove").value(all_in)[:, 0]
    with torch.no_grad():
        scores = model.compared(inputs, everyone)
    assert found.tolist() == [1 + int((row[1:] >= row[0]).sum()) for row in scores]
    plain = Ledger(model, inputs).game(rank, "remove").value(all_in)[:, 0]
    with torch.no_grad():
        assert torch.equal(plain, rank(model, inputs))


def test_a_baseline_may_differ_by_row() -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=0)
    baseline = torch.randn(inputs.values.shape, dtype=inputs.values.dtype)
    none = torch.zeros_like(inputs.present)[:, None]
    game = Ledger(model, inputs, baseline=baseline).game(logit, "baseline")
    with torch.no_grad():
        expected = model.score(
            inputs.with_values(torch.where(inputs.players[..., None], baseline, inputs.values))
        )
    assert torch.allclose(game.value(none)[:, 0], expected)
