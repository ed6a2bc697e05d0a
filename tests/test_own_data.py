"""A recipe on someone's own files, clean and dirty, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

RECIPE = """
name: own
data: {{dataset: csv, folder: {folder}, interactions: e.csv, items: i.csv, history: 6}}
encoder: {{name: hashed, size: 16}}
model: {{name: sequential, width: 16, layers: 1}}
train: {{epochs: 1, batch: 16, negatives: 4}}
explain: [leave_one_out]
fidelity: [deletion]
protocol: {{users: 4, points: 3, repeats: 2, batch: 2}}
"""
TITLES = ["Zelt", "帐篷", "خيمة", "палатка", "⛺️ 👩‍🚀", "CafÃ© &amp; Bar", "", " ", "!!!", "\u200b"]


@pytest.fixture
def own(tmp_path: Path, xrec: Any):
    """Run the recipe on events (user, item, time), with items called by TITLES and no texts."""

    def run(events: list[tuple[object, object, object]], *overrides: str) -> tuple[int, str, str]:
        lines = [",".join(map(str, row)) for row in events]
        (tmp_path / "e.csv").write_text("\n".join(["user,item,time", *lines]) + "\n")
        items = [f'{at},"{title}",' for at, title in enumerate(TITLES)]
        (tmp_path / "i.csv").write_text("\n".join(["item,title,text", *items]) + "\n")
        (tmp_path / "own.yaml").write_text(RECIPE.format(folder=tmp_path))
        told: tuple[int, str, str] = xrec(
            "run", tmp_path / "own.yaml", *overrides, "--runs", tmp_path / "runs"
        )
        return told

    return run


def _refused(told: tuple[int, str, str], *words: str) -> None:
    code, _, err = told
    assert code == 2
    assert len(err.strip().splitlines()) == 1, err
    for word in words:
        assert word in err


def _many(users: int = 12) -> list[tuple[object, object, object]]:
    return [
        (f"u{user}", (user + 3 * at) % len(TITLES), 1_600_000_000 + at)
        for user in range(users)
        for at in range(5)
    ]


def test_texts_that_are_empty_or_in_other_scripts(own, tmp_path: Path):
    events = [*_many(), ("once", 1, 5), ("", 1, 5), ("u1", "?", 5), ("u2", 1, "")]
    code, _, err = own(events)
    assert code == 0, err
    (run,) = (tmp_path / "runs" / "own").iterdir()
    data = json.loads((run / "data.json").read_text())
    told = {
        each["step"]: each["dropped"] + each["mended"] for each in data["found"] if each["found"]
    }
    assert told == {
        "incomplete": 2,
        "unknown_items": 1,
        "broken_text": 2,
        "missing_text": 10,
        "short_histories": 1,
    }
    titles = pl.read_parquet(run / "data" / "items.parquet")["title"].to_list()
    assert titles == [*TITLES[:5], "Café & Bar", "item 6", "item 7", "!!!", "item 9"]
    assert "items without text or title" in (run / "report.html").read_text()


def test_events_without_times_ask_for_a_split_at_random(own, tmp_path: Path):
    events = [(user, item, "") for user, item, _ in _many()]
    _refused(own(events), "60 of 60 events have no time", "set data.split to leave_random_out")
    assert not (tmp_path / "runs").exists()
    code, _, err = own(events, "data.split=leave_random_out")
    assert code == 0, err


def test_nobody_has_more_than_one_event(own, tmp_path: Path):
    events = [(f"u{at}", at, 5) for at in range(len(TITLES))]
    _refused(
        own(events),
        "after cleaning no interaction is left (events of users with fewer than 3: 10)",
        "lower data.min_events",
    )
    _refused(
        own(events, "data.clean=none"),
        "dataset csv: 10 items without text or title",  # the first thing that is not clean
    )
    _refused(
        own(events, "data.clean=[missing_text]"),
        "dataset csv: 10 events of users with fewer than 3, such as u0, 0, 1970-01-01 00:00:05",
        "let data.clean have the step short_histories",
    )
    assert not (tmp_path / "runs").exists()


def test_a_core_that_nothing_is_in(own):
    _refused(
        own(_many(), "data.clean=[default,{name: k_core, users: 6}]"),
        "after cleaning no interaction is left (events outside the core where users have 6 events "
        "and items 5: 60, items outside",
    )


def test_a_step_that_is_none(own):
    _refused(
        own(_many(), "data.clean=[default,kcore]"),
        "data.clean[1]: there is no step 'kcore'; did you mean 'k_core'?",
    )
