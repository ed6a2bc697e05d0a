"""The steps together: their order, what is left after them, and what a recipe may ask of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import Event, dirty, event, rows, tables

from xrec.data.cleaning.steps import DEFAULT, NEEDED, STEPS, clean, demand
from xrec.data.tables import Tables
from xrec.errors import DataError, RecipeError
from xrec.recipe import Recipe


def _steps(cleaning: Any = "default", **data: Any) -> tuple:
    given = {"dataset": "planted", "clean": cleaning, **data}
    return Recipe.of({"name": "x", "data": given, "model": "sequential"}).clean


def _same(one: Tables, other: Tables) -> bool:
    return all(
        one.frames()[name].equals(frame, null_equal=True) for name, frame in other.frames().items()
    )


def test_a_step_that_finds_nothing_changes_nothing():
    given_tables = tables([event("u", "a", 1), event("u", "b", 2), event("u", "c", 3)])
    for steps in (_steps(), _steps([*STEPS, {"name": "k_core", "users": 1, "items": 1}][:-2])):
        cleaned, findings = clean(given_tables, steps)
        assert [finding.found for finding in findings] == [0] * len(findings)
        assert [finding.examples for finding in findings] == [()] * len(findings)
        assert _same(cleaned, given_tables)


def test_the_steps_run_in_order():
    """What an earlier step drops counts neither as a duplicate nor towards a long history."""
    kept = [event("u", "a", 1), event("u", "b", 2), event("u", "c", 3)]
    events = [
        event("v", "a", 1),
        event("v", "b", 2),
        event("v", "x", 3),
        event("v", "x", 3),
        event(None, "x", 9),
        *kept,
        kept[0],
    ]
    cleaned, findings = clean(tables(events), _steps())
    assert rows(cleaned) == kept
    found = {finding.step: finding.found for finding in findings if finding.found}
    assert found == {"incomplete": 1, "unknown_items": 2, "duplicates": 1, "short_histories": 2}


def test_nothing_left():
    events = [event("u", "a", 1), event("u", "x", 2), event("v", None, 2)]
    with pytest.raises(DataError) as raised:
        clean(tables(events), _steps())
    assert str(raised.value) == (
        "after cleaning no interaction is left (events without user, item or time: 1, events "
        "whose item is not in the catalogue: 1, events of users with fewer than 3: 1): ask less of "
        "data.clean, or lower data.min_events?"
    )


def _dropped(findings: list) -> int:
    """Events dropped: all that steps drop are events, but for items by these two."""
    return sum(
        finding.dropped for finding in findings if not finding.what.startswith(("items", "item "))
    )


@settings(max_examples=150, deadline=None)
@given(
    dirty,
    st.lists(st.sampled_from([*STEPS]), unique=True),
    st.integers(3, 4),
    st.sampled_from(["leave_last_out", "leave_random_out"]),
)
def test_cleaning_accounts_for_every_row_and_what_is_clean_stays_so(
    given_rows: list[Event], names: list[str], least: int, split: str
):
    steps = _steps([*names, "default"], min_events=least, split=split)
    given_tables = tables(given_rows)
    try:
        cleaned, findings = clean(given_tables, steps)
    except DataError:
        return  # nothing was left
    assert len(cleaned.interactions) + _dropped(findings) == len(given_rows)
    assert all(finding.examples for finding in findings if finding.found)
    assert given_tables.interactions.rows() == given_rows  # those given are left as they are
    users = [user for user, *_ in rows(cleaned)]
    assert all(users.count(user) >= least for user in users)
    times = [time for _, _, time, *_ in rows(cleaned)]
    if split == "leave_last_out":
        assert None not in times or set(times) == {None}
    assert all(time is None or 0 <= time <= 2 * 10**9 for time in times)
    known = set(cleaned.items["item"])
    assert all(user and item in known for user, item, *_ in rows(cleaned))
    again, nothing = clean(cleaned, steps)
    assert _same(again, cleaned)
    assert [finding.found for finding in nothing] == [0] * len(nothing)
    if "k_core" not in names:
        demand(cleaned, _steps(min_events=least, split=split), "these")


# What a recipe asks


def test_default_is_short_for_its_steps_and_none_for_no_step():
    assert {step.name for step in _steps()} == set(DEFAULT) >= set(NEEDED)
    assert _steps(["default"]) == _steps()
    assert _steps("none") == _steps([]) == ()


def test_steps_are_carried_out_in_their_own_order():
    steps = _steps(["k_core", "duplicates", "incomplete"])
    assert [step.name for step in steps] == ["incomplete", "duplicates", "k_core"]


@pytest.mark.parametrize("order", [1, -1])
def test_options_of_a_step(order: int):
    listed = [{"name": "short_histories", "events": 7}, "default"][::order]
    (short,) = [step for step in _steps(listed) if step.name == "short_histories"]
    assert short.events == 7


def test_what_a_step_is_not_told_it_takes_from_the_other_options():
    steps = {step.name: step for step in _steps(min_events=6, split="leave_random_out")}
    assert steps["short_histories"].events == 6
    assert not steps["incomplete"].times
    assert {step.name: step for step in _steps()}["incomplete"].times


WRONG = [
    ("defualt", "data.clean[0]: there is no step 'defualt'; did you mean 'default'?"),
    (["kcore"], "data.clean[0]: there is no step 'kcore'; did you mean 'k_core'?"),
    ([{"name": "k_core", "user": 2}], "data.clean.k_core.user: there is no such key"),
    ([{"name": "k_core", "users": "x"}], "data.clean.k_core.users: "),
    ([{"name": "k_core", "users": 0}], "data.clean.k_core: users 0 and items 5 must be"),
    ([{"users": 2}], "data.clean[0]: expected the name of a step"),
    (7, "data.clean: expected default, none or a list of steps, got '7'"),
    (None, "data.clean: expected default, none or a list of steps, got 'None'"),
]


@pytest.mark.parametrize(("given_steps", "said"), WRONG)
def test_a_wrong_list_of_steps(given_steps: Any, said: str):
    with pytest.raises(RecipeError) as raised:
        _steps(given_steps)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_demanding_what_is_not_there():
    with pytest.raises(DataError) as raised:
        demand(tables([event("u", "a", 1), event(None, "a", 2)]), _steps(), "dataset mine")
    assert str(raised.value) == (
        "dataset mine: 1 events without user, item or time, such as no user, a, 1970-01-01 "
        "00:00:02, 1, buy; mend them, or let data.clean have the step incomplete (it is in default)"
    )
