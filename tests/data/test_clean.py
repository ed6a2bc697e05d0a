"""Cleaning: what each step drops or mends, what it tells, and what is always true after it."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.data.clean import (
    Finding,
    clean,
    drop_duplicates,
    drop_incomplete,
    drop_short_histories,
    drop_unknown_items,
    mend_texts,
)
from xrec.data.tables import INTERACTIONS, Tables
from xrec.errors import DataError

Event = tuple[str | None, str | None, int | None, float | None, str | None]


def _items(**columns: list[str | None]) -> pl.DataFrame:
    given = {"item": ["a", "b", "c", "d"], "title": ["A", "B", "C", "D"]}
    given["text"] = [f"about {title}" for title in given["title"]]
    return pl.DataFrame({**given, **columns})


def _tables(events: list[Event], items: pl.DataFrame | None = None) -> Tables:
    frame = pl.DataFrame(events, schema=dict(INTERACTIONS), orient="row")
    return Tables(frame, _items() if items is None else items)


def _rows(tables: Tables) -> list[tuple]:
    return tables.interactions.rows()


def _event(user: str | None, item: str | None, time: int | None, action: str = "buy") -> Event:
    return user, item, time, 1.0, action


def test_events_that_miss_something():
    good = [_event("u", "a", 1), ("u", "b", 2, None, None)]
    bad = [_event(None, "a", 3), _event("u", None, 4), _event("u", "a", None)]
    tables, finding = drop_incomplete(_tables([good[0], *bad, good[1]]))
    assert _rows(tables) == good
    assert finding == Finding(
        "events without user, item or time", 3, "dropped", "None, a, 3, 1.0, buy"
    )


def test_events_of_items_that_are_not_in_the_catalogue():
    tables, finding = drop_unknown_items(
        _tables([_event("u", "x", 1), _event("u", "a", 2), _event("v", "A", 3)])
    )
    assert _rows(tables) == [_event("u", "a", 2)]
    assert (finding.found, finding.done, finding.example) == (2, "dropped", "u, x, 1, 1.0, buy")
    assert finding.step == "events whose item is not in the catalogue"


def test_events_recorded_twice():
    first = _event("u", "a", 1)
    others = [
        _event("v", "a", 1),
        _event("u", "b", 1),
        _event("u", "a", 2),
        _event("u", "a", 1, "return"),
    ]
    again = ("u", "a", 1, 5.0, "buy")  # another rating of the same moment is no other event
    tables, finding = drop_duplicates(_tables([first, *others, again, first]))
    assert _rows(tables) == [first, *others]
    assert (finding.step, finding.found) == ("events recorded twice", 2)
    assert finding.example == "u, a, 1, 5.0, buy"


def test_users_with_too_few_events():
    events = [_event("u", "a", 1), _event("v", "a", 2), _event("u", "b", 3), _event("v", "b", 4)]
    tables, finding = drop_short_histories(_tables([*events, _event("u", "c", 5)]), 3)
    assert [user for user, *_ in _rows(tables)] == ["u", "u", "u"]
    assert finding.row() == {
        "step": "events of users with fewer than 3",
        "found": 2,
        "done": "dropped",
        "example": "v, a, 2, 1.0, buy",
    }


def test_items_without_text_are_read_by_their_title_or_id():
    items = _items(
        title=["Tent ", " Lamp", None, "  "], text=["a tent", None, "  ", ""], colour=["red"] * 4
    )
    tables, finding = mend_texts(_tables([], items))
    assert tables.items["title"].to_list() == ["Tent", "Lamp", "item c", "item d"]
    assert tables.items["text"].to_list() == ["a tent", "Lamp", "item c", "item d"]
    assert tables.items["colour"].to_list() == ["red"] * 4
    assert tables.items.columns == items.columns
    assert finding == Finding("items without text", 3, "given their title to read", "b")


def test_a_step_that_finds_nothing_changes_nothing():
    tables = _tables([_event("u", "a", 1), _event("u", "b", 2), _event("u", "c", 3)])
    cleaned, findings = clean(tables, 3)
    assert [finding.found for finding in findings] == [0] * 5
    assert [finding.example for finding in findings] == [""] * 5
    assert all(
        cleaned.frames()[name].equals(frame, null_equal=True)
        for name, frame in tables.frames().items()
    )


def test_the_steps_run_in_order():
    """What an earlier step drops counts neither as a duplicate nor towards a long history."""
    kept = [_event("u", "a", 1), _event("u", "b", 2), _event("u", "c", 3)]
    events = [
        _event("v", "a", 1),
        _event("v", "b", 2),
        _event("v", "x", 3),
        _event("v", "x", 3),
        _event(None, "x", 9),
        *kept,
        kept[0],
    ]
    tables, findings = clean(_tables(events), 3)
    assert _rows(tables) == kept
    assert [finding.found for finding in findings] == [1, 2, 1, 0, 2]


def test_nothing_left():
    with pytest.raises(DataError) as raised:
        clean(_tables([_event("u", "a", 1), _event("u", "x", 2), _event("v", None, 2)]), 3)
    assert str(raised.value) == (
        "after cleaning no interaction is left (events without user, item or time: 1, events "
        "whose item is not in the catalogue: 1, events of users with fewer than 3: 1): "
        "lower data.min_events?"
    )


maybe = st.none()
events = st.lists(
    st.tuples(
        maybe | st.sampled_from("uvw"),
        maybe | st.sampled_from("abx"),
        maybe | st.integers(0, 2),
        st.sampled_from([1.0, 2.0]),
        maybe | st.sampled_from(["buy", "play"]),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(events)
def test_dropping_duplicates_keeps_the_first_of_each_and_is_done_at_once(rows: list[Event]):
    once, finding = drop_duplicates(_tables(rows))
    firsts: dict[tuple, Event] = {}
    for user, item, time, value, action in rows:
        firsts.setdefault((user, item, time, action), (user, item, time, value, action))
    assert _rows(once) == list(firsts.values())
    assert finding.found == len(rows) - len(firsts)
    twice, again = drop_duplicates(once)
    assert twice.interactions.equals(once.interactions, null_equal=True)
    assert again.found == 0


@settings(max_examples=100, deadline=None)
@given(events, st.integers(1, 4))
def test_what_is_left_is_whole_and_every_row_is_accounted_for(rows: list[Event], least: int):
    try:
        tables, findings = clean(_tables(rows), least)
    except DataError:
        return  # nothing was left
    left = _rows(tables)
    dropped = sum(finding.found for finding in findings if finding.done == "dropped")
    assert len(left) + dropped == len(rows)
    assert left == [row for row in dict.fromkeys(left) if row in rows]
    assert all(item in ("a", "b") and user and time is not None for user, item, time, *_ in left)
    users = [user for user, *_ in left]
    assert all(users.count(user) >= least for user in users)
    assert clean(tables, least)[0].interactions.equals(tables.interactions, null_equal=True)
