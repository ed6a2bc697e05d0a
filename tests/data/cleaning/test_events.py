"""Steps on single events: what each drops or mends, and what it tells."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import Event, dirty, event, rows, tables

from xrec.data.cleaning.events import (
    DAY,
    Bots,
    Cancelled,
    Duplicates,
    ImpossibleTimes,
    Incomplete,
    Repeats,
    UnknownItems,
)
from xrec.data.cleaning.finding import Finding

# Incomplete and unknown


def test_events_that_miss_something():
    good = [event("u", "a", 1), event("u", "b", 2, None, None)]
    bad = [event(None, "a", 3), event("u", None, 4), event("u", "a", None)]
    cleaned, findings = Incomplete()(tables([good[0], *bad, good[1]]))
    assert rows(cleaned) == good
    assert findings == [
        Finding(
            "incomplete",
            "events without user, item or time",
            dropped=3,
            examples=(
                "no user, a, 1970-01-01 00:00:03, 1, buy",
                "u, no item, 1970-01-01 00:00:04, 1, buy",
                "u, a, no time, 1, buy",
            ),
        )
    ]


def test_times_may_be_missing_where_none_is_needed_or_none_is_known():
    some = [event("u", "a", 1), event("u", "b", None), event("v", None, 2)]
    cleaned, (finding,) = Incomplete(times=False)(tables(some))
    assert rows(cleaned) == some[:2]
    assert finding.what == "events without user or item"
    none = [event("u", "a", None), event("u", "b", None)]
    assert rows(Incomplete()(tables(none))[0]) == none


def test_events_of_items_that_are_not_in_the_catalogue():
    events = [event("u", "x", 1), event("u", "a", 2), event("v", "A", 3), event("v", None, 4)]
    cleaned, (finding,) = UnknownItems()(tables(events))
    assert rows(cleaned) == [event("u", "a", 2)]
    assert (finding.found, finding.dropped, finding.mended) == (3, 3, 0)
    assert finding.what == "events whose item is not in the catalogue"


def test_only_a_few_examples_are_kept():
    events = [event("u", "x", at) for at in range(9)]
    (finding,) = UnknownItems()(tables(events))[1]
    assert finding.dropped == 9
    assert len(finding.examples) == 3


# Times


def test_times_before_1970_or_in_the_future_are_dropped():
    last = 1_735_689_599  # 2024-12-31 23:59:59
    good = [event("u", "a", 0), event("u", "a", last), event("u", "a", None)]
    bad = [event("u", "b", -1), event("u", "b", last + 2)]
    cleaned, (units, others) = ImpossibleTimes(latest="2024-12-31")(tables([*good, *bad]))
    assert rows(cleaned) == good
    assert (others.dropped, others.mended) == (2, 0)
    assert others.examples[0] == "u, b, 1969-12-31 23:59:59, 1, buy"
    assert units.found == 0


@pytest.mark.parametrize("unit", [10**3, 10**6, 10**9])
def test_times_in_other_units_are_mended(unit: int):
    time = 1_500_000_000
    cleaned, (units, others) = ImpossibleTimes()(tables([event("u", "a", time * unit + 7)]))
    assert rows(cleaned) == [event("u", "a", time)]
    assert (units.mended, units.dropped, others.found) == (1, 0, 0)
    assert units.what == "events with times that are not in seconds"


def test_a_second_that_is_too_late_is_not_taken_for_milliseconds():
    """In the year 2100 it would be, in milliseconds, of 1970."""
    cleaned, (units, others) = ImpossibleTimes()(tables([event("u", "a", 4_102_444_800)]))
    assert rows(cleaned) == []
    assert (units.found, others.dropped) == (0, 1)


def test_tomorrow_is_the_latest_unless_told():
    times = [event("u", "a", 1_700_000_000), event("u", "a", 2**34)]
    cleaned, (_, found) = ImpossibleTimes()(tables(times))
    assert rows(cleaned) == times[:1]
    assert found.what == "events before 1970 or after tomorrow"  # the same on every day


def test_a_date_that_is_none():
    with pytest.raises(ValueError, match=r"^latest 'soon' is no date such as 2024-12-31$"):
        ImpossibleTimes(latest="soon")


# Duplicates and repeats


def test_events_recorded_twice():
    first = event("u", "a", 1)
    others = [
        event("v", "a", 1),
        event("u", "b", 1),
        event("u", "a", 2),
        event("u", "a", 1, "return"),
    ]
    again = event("u", "a", 1, value=5.0)  # another rating of the same moment is no other event
    cleaned, (finding,) = Duplicates()(tables([first, *others, again, first]))
    assert rows(cleaned) == [first, *others]
    assert (finding.what, finding.dropped) == ("events recorded twice", 2)
    assert finding.examples[0] == "u, a, 1970-01-01 00:00:01, 5, buy"


@settings(max_examples=100, deadline=None)
@given(dirty)
def test_dropping_duplicates_keeps_the_first_of_each(given_rows: list[Event]):
    firsts: dict[tuple, Event] = {}
    for user, item, time, value, action in given_rows:
        firsts.setdefault((user, item, time, action), (user, item, time, value, action))
    assert rows(Duplicates()(tables(given_rows))[0]) == list(firsts.values())


def test_of_an_item_had_again_the_earliest_event_is_kept():
    events = [event("u", "a", 5), event("v", "a", 9), event("u", "a", 2), event("u", "b", 5)]
    cleaned, (finding,) = Repeats()(tables(events))
    assert rows(cleaned) == [event("v", "a", 9), event("u", "a", 2), event("u", "b", 5)]
    assert finding.dropped == 1
    assert finding.examples == ("u, a, 1970-01-01 00:00:05, 1, buy",)


# Cancelled


def _cancel(user: str, item: str, time: int, value: float | None) -> Event:
    return event(user, item, time, "cancel", value)


def test_a_cancellation_takes_back_the_latest_earlier_event_of_its_quantity():
    kept = [
        event("u", "a", 1, value=6.0),
        event("u", "b", 2, value=6.0),  # another item
        event("v", "a", 2, value=6.0),  # another user
        event("u", "a", 9, value=6.0),  # later
    ]
    undone = event("u", "a", 2, value=6.0)
    few = event("u", "a", 3, value=5.0)
    cleaned, (cancels, events) = Cancelled()(
        tables([*kept, undone, few, _cancel("u", "a", 4, -6.0)])
    )
    assert sorted(rows(cleaned)) == sorted([*kept, few])
    assert (cancels.what, cancels.dropped) == ("cancellations", 1)
    assert (events.dropped, events.mended) == (1, 0)
    assert events.examples == ("u, a, 1970-01-01 00:00:02, 6, buy",)


def test_what_is_cancelled_in_part_is_lessened_until_nothing_is_left():
    bought = event("u", "a", 1, value=6.0)
    once = tables([bought, _cancel("u", "a", 2, -2.0)])
    cleaned, (_, events) = Cancelled()(once)
    assert rows(cleaned) == [event("u", "a", 1, value=4.0)]
    assert (events.dropped, events.mended) == (0, 1)
    cleaned, (cancels, events) = Cancelled()(
        tables([bought, _cancel("u", "a", 2, -2.0), _cancel("u", "a", 3, -4.0)])
    )
    assert rows(cleaned) == []
    assert (cancels.dropped, events.dropped, events.mended) == (2, 1, 0)


def test_a_cancellation_without_a_quantity_takes_back_all_of_the_latest():
    events = [event("u", "a", 1, value=6.0), event("u", "a", 2, value=3.0)]
    assert rows(Cancelled()(tables([*events, _cancel("u", "a", 3, None)]))[0]) == events[:1]
    unknown = event("u", "a", 2, value=None)
    assert rows(Cancelled()(tables([events[0], unknown, _cancel("u", "a", 3, -9.0)]))[0]) == [
        events[0]
    ]


def test_a_cancellation_of_nothing_is_dropped_alone():
    bought = event("u", "a", 2)
    cleaned, (cancels, events) = Cancelled()(tables([_cancel("u", "a", 1, -1.0), bought]))
    assert rows(cleaned) == [bought]
    assert (cancels.dropped, events.found) == (1, 0)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("uv"),
            st.sampled_from("ab"),
            st.integers(0, 5),
            st.sampled_from([1.0, 2.0, 3.0]),
            st.sampled_from(["buy", "cancel"]),
        ),
        max_size=20,
    )
)
def test_cancelling_keeps_the_books(given_rows: list[Event]):
    """What is left is what was bought less what was taken back, and nothing of it is new."""
    cleaned, (cancels, events) = Cancelled()(tables(given_rows))
    left = rows(cleaned)
    assert len(left) + cancels.dropped + events.dropped == len(given_rows)
    assert all(action == "buy" and value > 0 for *_, value, action in left)
    for user in "uv":
        for item in "ab":
            mine = [row for row in given_rows if row[:2] == (user, item)]
            bought = sum(row[3] for row in mine if row[4] == "buy")
            back = sum(row[3] for row in mine if row[4] == "cancel")
            rest = sum(row[3] for row in left if row[:2] == (user, item))
            assert max(0, bought - back) <= rest <= bought


# Bots


def test_users_who_are_faster_than_people_are():
    person = [event("u", "a", day * DAY + at) for day in range(3) for at in range(4)]
    busy = [event("v", "b", day * DAY + at) for day in range(3) for at in range(5)]
    one_day = [event("w", "c", at) for at in range(9)]
    hasty = [event("x", "d", 7) for _ in range(3)]
    untimed = [event("y", "d", None) for _ in range(9)]
    human = [*person, *one_day, *untimed]
    cleaned, (finding,) = Bots(daily=4, days=3, at_once=2)(tables([*human, *busy, *hasty]))
    assert rows(cleaned) == human
    assert finding.dropped == len(busy) + len(hasty)
    assert finding.what == "events of users who are faster than people are"


def test_one_day_in_haste_among_quiet_ones_is_human():
    events = [event("u", "a", at) for at in range(90)]
    events += [event("u", "a", DAY * day) for day in (1, 2)]
    assert rows(Bots(daily=4)(tables(events))[0]) == events


def test_options_of_no_sense():
    with pytest.raises(ValueError, match=r"^days is 0, it must be at least 1$"):
        Bots(days=0)
