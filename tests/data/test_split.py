"""Events in order of time, and how many at the end each stage must not see."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.data.features import Vocabulary
from xrec.data.split import HELD_OUT, Events
from xrec.data.tables import INTERACTIONS

USERS = Vocabulary(["v", "u", "w"], "user")
ITEMS = Vocabulary("abcd", "item")
ACTIONS = Vocabulary(["buy", "play"], "action")
ROWS = st.lists(
    st.tuples(
        st.sampled_from("uvw"),
        st.sampled_from("abcd"),
        st.integers(-2, 2),
        st.just(1.0),
        st.sampled_from([None, "buy", "play"]),
    ),
    max_size=25,
)


def _events(rows: list[tuple], seed: int | None = None) -> Events:
    frame = pl.DataFrame(rows, schema=dict(INTERACTIONS), orient="row")
    return Events.of(frame, USERS, ITEMS, ACTIONS, seed)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_events_are_sorted_by_user_then_time_then_order_in_the_file(rows: list[tuple]):
    events = _events(rows)
    assert events.span(0) == (0, 0)  # nobody's
    for user in ("v", "u", "w"):
        begin, end = events.span(USERS.index(user))
        mine = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])
        assert events.item[begin:end].tolist() == [ITEMS.index(row[1]) for row in mine]
        assert events.time[begin:end].tolist() == [row[2] for row in mine]
        told = [ACTIONS.index(row[4]) if row[4] else 0 for row in mine]
        assert events.action[begin:end].tolist() == told
    assert events.start.tolist()[-1] == len(rows)


def test_events_of_one_moment_keep_the_order_of_the_file():
    rows = [
        ("u", item, time, 1.0, "buy") for item, time in [("c", 5), ("a", 5), ("d", 4), ("b", 5)]
    ]
    assert [ITEMS.ids[at] for at in _events(rows).item] == ["d", "c", "a", "b"]


def test_an_event_of_no_told_action_has_action_zero():
    rows = [("u", "a", 1, 1.0, None), ("u", "b", 2, 1.0, "play"), ("u", "c", 3, 1.0, "")]
    assert _events(rows).action.tolist() == [0, 2, 0]


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 3))
def test_with_a_seed_each_users_events_are_shuffled(rows: list[tuple], seed: int):
    events, again, sorted_ = _events(rows, seed), _events(rows, seed), _events(rows)
    assert events.start.equal(sorted_.start)
    assert events.item.equal(again.item)
    assert events.time.equal(again.time)
    for user in (1, 2, 3):
        begin, end = events.span(user)
        pairs = [
            sorted(zip(each.item[begin:end].tolist(), each.time[begin:end].tolist(), strict=True))
            for each in (events, sorted_)
        ]
        assert pairs[0] == pairs[1]


def test_every_order_is_as_likely_as_another():
    """Each of four events comes last about as often, over 400 seeds: to four standard errors."""
    rows = [("u", item, None, 1.0, "play") for item in "abcd"]
    last = [int(_events(rows, seed).item[-1]) for seed in range(400)]
    error = (400 * 0.25 * 0.75) ** 0.5
    assert all(abs(last.count(item) - 100) < 4 * error for item in (1, 2, 3, 4))
    assert set(_events(rows, 0).time.tolist()) == {0}  # unknown times


def test_the_last_event_is_the_test_and_the_one_before_validates():
    assert HELD_OUT == {"train": 2, "validate": 1, "test": 0}
