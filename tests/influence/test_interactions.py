"""Training interactions are the terms of the training loss, each once, as training sees them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.influence.interactions import Interactions
from xrec.testing import small_data, small_model

NOBODY = torch.empty(0, dtype=torch.long)
quick = settings(deadline=None, derandomize=True, database=None, max_examples=20)


def all_of(data) -> Interactions:
    return Interactions.of(data, NOBODY, 10_000, 0)


@pytest.mark.parametrize("history", [2, 6, 20])
def test_they_are_all_events_that_are_not_held_out(history: int) -> None:
    data = small_data(history=history)
    expected = []
    for user in range(1, len(data.users)):
        begin, end = data.events.span(user)
        events = zip(
            data.events.item[begin : end - 2], data.events.time[begin : end - 2], strict=True
        )
        expected += [(user, int(item), int(time)) for item, time in events]
    found = all_of(data)
    assert sorted(found) == sorted(expected)
    assert len(found) == found.total == found.drawn


def test_each_has_the_history_that_came_before_it_and_is_learned_alone() -> None:
    data = small_data(history=20)  # no history is cut
    pool = all_of(data)
    windows = pool.windows
    assert windows.learned is not None
    assert windows.learned.sum(1).eq(1).all()
    assert windows.learned[:, -1].all()
    for at, (user, item, time) in enumerate(pool):
        begin, end = data.events.span(user)
        before = [
            int(data.events.item[event])
            for event in range(begin, end - 2)
            if data.events.time[event] <= time
        ]
        assert windows.history[at][windows.history[at] > 0].tolist() == before
        assert before[-1] == item


def test_the_mean_of_their_losses_is_the_loss_of_the_windows_with_the_same_negatives() -> None:
    from dataclasses import replace

    model, _ = small_model()
    data, pool = model.data_module, all_of(model.data_module)
    same = pool.windows.negatives[:1]
    windows = data.windows()
    whole = replace(windows, negatives=same.expand(len(windows), -1))
    apart = replace(pool.windows, negatives=same.expand(len(pool), -1))
    with torch.no_grad():
        each = [model.loss(apart.rows(torch.tensor([at])))["click"] for at in range(len(pool))]
        expected = model.loss(whole)["click"]
    torch.testing.assert_close(torch.stack(each).mean(), expected)


@quick
@given(count=st.integers(1, 60), seed=st.integers(0, 5), users=st.sets(st.integers(1, 12)))
def test_a_draw_has_no_interaction_twice_and_all_of_the_users(
    count: int, seed: int, users: set[int]
) -> None:
    data = small_data()
    found = Interactions.of(data, torch.tensor(sorted(users), dtype=torch.long), count, seed)
    assert found.drawn == min(count, found.total)
    assert len(set(found)) == len(found) <= found.total
    assert {event for event in all_of(data) if event[0] in users} <= set(found)
    assert {event[0] for event in list(found)[found.drawn :]} <= users


def test_negatives_are_fixed_by_the_seed_and_are_items_that_the_user_has_not_had() -> None:
    data = small_data()
    one, again, other = (Interactions.of(data, NOBODY, 20, seed).windows for seed in (1, 1, 2))
    assert one.negatives.equal(again.negatives)
    assert not one.negatives.equal(other.negatives)
    had = data.seen(one.user, "train")
    assert not had.gather(1, one.negatives).any()
