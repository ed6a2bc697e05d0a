"""Steps on users and items as a whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import Event, event, items, rows, tables

from xrec.data.cleaning.histories import KCore, ShortHistories


def test_users_with_too_few_events():
    events = [event("u", "a", 1), event("v", "a", 2), event("u", "b", 3), event("v", "b", 4)]
    cleaned, (finding,) = ShortHistories()(tables([*events, event("u", "c", 5)]))
    assert [user for user, *_ in rows(cleaned)] == ["u", "u", "u"]
    assert finding.row() == {
        "step": "short_histories",
        "what": "events of users with fewer than 3",
        "found": 2,
        "dropped": 2,
        "mended": 0,
        "examples": ("v, a, 1970-01-01 00:00:02, 1, buy", "v, b, 1970-01-01 00:00:04, 1, buy"),
    }


def test_to_leave_the_core_takes_others_along():
    """Without w, b has one event; without b, v has; without v, a has; so none of them is in."""
    chain = [
        event("u", "a", 1),
        event("v", "a", 2),
        event("v", "b", 3),
        event("w", "b", 4),
        event("u", "c", 5),
    ]
    core = [event(user, item, at) for at in range(2) for user in "xy" for item in "cd"]
    cleaned, (events, left) = KCore(users=2, items=2)(tables([*chain, *core]))
    assert rows(cleaned) == core
    assert cleaned.items["item"].to_list() == ["c", "d"]
    assert (events.dropped, left.dropped) == (5, 2)
    assert left.examples == ("A", "B")
    assert events.what == "events outside the core where users have 2 events and items 2"


def test_an_item_without_a_title_is_told_by_its_id():
    (_, left) = KCore()(tables([], items(title=[None, "B", "C", "D"])))[1]
    assert left.examples == ("a", "B", "C")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("uvwx"), st.sampled_from("abcd"), st.just(1), st.none(), st.none()
        ),
        max_size=40,
    ),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_the_core_is_the_largest_in_which_all_have_enough(
    given_rows: list[Event], users: int, least: int
):
    """Against peeling off one user or item at a time."""
    cleaned, (events, left) = KCore(users=users, items=least)(tables(given_rows))
    peeled = list(given_rows)
    while True:
        few = next(
            (
                (place, name)
                for place, k in ((0, users), (1, least))
                for name in {row[place] for row in peeled}
                if sum(row[place] == name for row in peeled) < k
            ),
            None,
        )
        if few is None:
            break
        peeled = [row for row in peeled if row[few[0]] != few[1]]
    assert rows(cleaned) == peeled
    assert set(cleaned.items["item"]) == {row[1] for row in peeled}
    assert events.dropped == len(given_rows) - len(peeled)
    assert left.dropped == 4 - len(cleaned.items)


def test_options_of_no_sense():
    with pytest.raises(ValueError, match=r"^users 0 and items 5 must be at least 1$"):
        KCore(users=0)
