"""Cleaning tables in small steps, each of which says what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import polars as pl

from xrec.data.tables import Tables
from xrec.errors import DataError


@dataclass(frozen=True)
class Finding:
    """What a step found: how many rows, what was done with them, and one example."""

    step: str
    found: int
    done: str
    example: str

    def row(self) -> dict[str, str | int]:
        """The finding as plain values, for the run's artefacts."""
        return asdict(self)


def clean(tables: Tables, min_events: int) -> tuple[Tables, list[Finding]]:
    """Run every step, in order. Raises DataError when nothing is left to learn from."""
    steps: list[Callable[[Tables], tuple[Tables, Finding]]] = [
        drop_incomplete,
        drop_unknown_items,
        drop_duplicates,
        mend_texts,
        lambda t: drop_short_histories(t, min_events),
    ]
    findings = []
    for step in steps:
        tables, finding = step(tables)
        findings.append(finding)
    if tables.interactions.is_empty():
        told = ", ".join(f"{f.step}: {f.found}" for f in findings if f.found)
        raise DataError(f"after cleaning no interaction is left ({told}): lower data.min_events?")
    return tables, findings


def _dropped(tables: Tables, bad: pl.Expr, step: str) -> tuple[Tables, Finding]:
    events = tables.interactions.with_columns(bad.fill_null(True).alias("_bad"))
    rows = events.filter("_bad").drop("_bad")
    kept = events.filter(~pl.col("_bad")).drop("_bad")
    example = ", ".join(map(str, rows.row(0))) if len(rows) else ""
    return tables.replace(interactions=kept), Finding(step, len(rows), "dropped", example)


def drop_incomplete(tables: Tables) -> tuple[Tables, Finding]:
    """Events without a user, an item or a time."""
    bad = pl.any_horizontal(pl.col("user", "item", "time").is_null())
    return _dropped(tables, bad, "events without user, item or time")


def drop_unknown_items(tables: Tables) -> tuple[Tables, Finding]:
    """Events whose item is not in the catalogue."""
    bad = ~pl.col("item").is_in(tables.items["item"].implode())
    return _dropped(tables, bad, "events whose item is not in the catalogue")


def drop_duplicates(tables: Tables) -> tuple[Tables, Finding]:
    """Events that repeat an earlier one: same user, item, time and action."""
    bad = ~pl.struct("user", "item", "time", "action").is_first_distinct()
    return _dropped(tables, bad, "events recorded twice")


def drop_short_histories(tables: Tables, min_events: int) -> tuple[Tables, Finding]:
    """Events of users who have fewer than `min_events`."""
    bad = pl.len().over("user") < min_events
    return _dropped(tables, bad, f"events of users with fewer than {min_events}")


def mend_texts(tables: Tables) -> tuple[Tables, Finding]:
    """Items with no text are given their title, or else their id, to read."""
    blank = pl.col("text").fill_null("").str.strip_chars() == ""
    title = pl.col("title").fill_null("").str.strip_chars()
    name = pl.when(title == "").then(pl.lit("item ") + pl.col("item")).otherwise(title)
    rows = tables.items.filter(blank)
    items = tables.items.with_columns(
        text=pl.when(blank).then(name).otherwise(pl.col("text")), title=name
    )
    example = str(rows["item"][0]) if len(rows) else ""
    finding = Finding("items without text", len(rows), "given their title to read", example)
    return tables.replace(items=items), finding
