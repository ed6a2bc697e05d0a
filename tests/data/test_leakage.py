"""Leakage: sound data have none, and each way to leak is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import event, items, tables

from xrec.data import leakage as leaks
from xrec.data.leakage import Check, from_the_future, held_out, leakage, trained_on
from xrec.data.module import Data
from xrec.errors import DataError
from xrec.options import DataOptions, TrainOptions
from xrec.testing import small_data


def _data(rows: list[tuple], split: str = "leave_last_out", length: int = 4) -> Data:
    given_tables = tables([event(*row) for row in rows], items())
    return Data(given_tables, DataOptions(split=split, history=length), TrainOptions(), 3)


histories = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(1, 4), st.sampled_from(["buy", "play"])),
    min_size=3,
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(histories, histories, st.sampled_from(["leave_last_out", "leave_random_out"]))
def test_sound_data_do_not_leak_whatever_recurs_in_them(u: list, v: list, split: str):
    data = _data([("u", *row) for row in u] + [("v", *row) for row in v], split)
    checks = leakage(data)
    timed = [check for check in checks if "later" in check.what]
    assert len(timed) == (2 if split == "leave_last_out" else 0)
    *sound, validated, tested = checks
    assert all((check.found, check.cases) == (0, 2) for check in sound)
    for check, back in ((validated, 2), (tested, 1)):
        item = [
            data.events.item[begin:end].tolist() for begin, end in map(data.events.span, (1, 2))
        ]
        assert check.found == sum(mine[-back] in mine[:-back] for mine in item)


def test_what_is_told():
    rows = [("u", item, at) for at, item in enumerate("abcda")]
    assert [check.row() for check in leakage(_data(rows))][-2:] == [
        {
            "what": "validation items are ones that the user had before",
            "found": 0,
            "cases": 1,
        },
        {
            "what": "test items are ones that the user had before",
            "found": 1,
            "cases": 1,
        },
    ]


def test_the_future_in_the_past_is_found():
    data = small_data()
    queries, at = data.queries("test"), held_out(data, "test")
    time = data.events.time[at]
    assert not from_the_future(queries, time).any()
    swapped = queries.history_time.clone()
    swapped[3, -1] = time[3] + 1
    assert from_the_future(replace(queries, history_time=swapped), time).nonzero().tolist() == [[3]]
    padded = queries.history_time.clone()
    padded[queries.history == 0] = 10**9  # what stands in padding is no event
    assert not from_the_future(replace(queries, history_time=padded), time).any()


def test_held_out_events_in_training_windows_are_found():
    data = small_data()
    windows = data.windows()
    for stage in leaks.STAGES:
        at = held_out(data, stage)
        assert data.events.item[at].equal(data.queries(stage).candidate)
        assert not trained_on(windows, data, at).any()
        leaky = [windows.history.clone(), windows.history_time.clone(), windows.history_action]
        (row,) = (windows.user == 5).nonzero()[:1].flatten().tolist()
        leaky[0][row, -1], leaky[1][row, -1] = data.events.item[at[4]], data.events.time[at[4]]
        shown = replace(windows, history=leaky[0], history_time=leaky[1])
        assert trained_on(shown, data, at).nonzero().tolist() == [[4]]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("queries", "12 of 12 validation histories have an event later than the one held out"),
        ("windows", "12 of 12 validation events are in a training window"),
    ],
)
def test_a_leak_is_refused(monkeypatch: pytest.MonkeyPatch, spoil: str, said: str):
    data = small_data()
    whole = data.latest(torch.arange(1, 13), torch.arange(1, 13))
    told = {"queries": lambda stage: whole, "windows": lambda: whole}[spoil]
    monkeypatch.setattr(data, spoil, told)
    with pytest.raises(DataError) as raised:
        leakage(data)
    assert str(raised.value).startswith(f"the split leaks: {said}; ")


def test_a_check_is_plain_values():
    assert Check("x", 1, 2).row() == {"what": "x", "found": 1, "cases": 2}
