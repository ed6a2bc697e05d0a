"""What a step of cleaning is, and what it tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

import polars as pl

from xrec.data.tables import INTERACTIONS, Tables

SHOWN = 3  # examples of what was found


@dataclass(frozen=True)
class Finding:
    """What a step looked for, in words, how many rows it dropped and mended, and a few of them."""

    step: str
    what: str
    dropped: int = 0
    mended: int = 0
    examples: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """Rows that were not as they should be: each was dropped or mended."""
        return self.dropped + self.mended

    def row(self) -> dict[str, Any]:
        """The finding as plain values, for the run's artefacts."""
        return {**asdict(self), "found": self.found}


class Step(Protocol):
    """One step: a dataclass whose fields are its options, called with tables.

    It gives the clean tables, and a finding for each thing it looked for. Done again it finds
    nothing, whatever the tables.
    """

    name: ClassVar[str]

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Clean the tables; those given are left as they are."""


def drop(tables: Tables, bad: pl.Expr, step: str, what: str) -> tuple[Tables, list[Finding]]:
    """Drop the events of which `bad` is true (an unknown truth is none)."""
    marked = tables.interactions.with_columns(bad.fill_null(False).alias("_bad"))
    rows = marked.filter("_bad").drop("_bad")
    kept = marked.filter(~pl.col("_bad")).drop("_bad")
    finding = Finding(step, what, dropped=len(rows), examples=told(rows))
    return tables.replace(interactions=kept), [finding]


def told(events: pl.DataFrame) -> tuple[str, ...]:
    """The first of some events, in words."""
    first = events.select(*INTERACTIONS).head(SHOWN)
    return tuple(", ".join(_words(row)) for row in first.iter_rows(named=True))


def _words(event: dict[str, Any]) -> Iterable[str]:
    for column, value in event.items():
        if value is None:
            if column in ("user", "item", "time"):
                yield f"no {column}"
        elif column == "time":
            yield _date(value)
        else:
            yield f"{value:g}" if isinstance(value, float) else str(value)


def _date(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):  # what no calendar has is told as it is
        return str(seconds)
