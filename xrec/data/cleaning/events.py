"""Steps that look at single events: what is missing, impossible, told twice, or taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import polars as pl

from xrec.data.cleaning.finding import Finding, drop, told
from xrec.data.tables import Tables

DAY = 86_400  # seconds
#: Times in milli-, micro- and nanoseconds are told from seconds that are wrong by the year they
#: then are of: few events were recorded before 1990.
UNITS, SINCE = (10**3, 10**6, 10**9), int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Incomplete:
    """Events without a user, an item or, where times are needed, a time.

    Data in which no event has a time are left to whoever splits them.
    """

    name: ClassVar[str] = "incomplete"
    times: bool = True

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Drop them."""
        dated = self.times and tables.interactions["time"].null_count() < len(tables.interactions)
        needed = ["user", "item", "time"] if dated else ["user", "item"]
        bad = pl.any_horizontal(pl.col(needed).is_null())
        what = "events without user, item or time" if dated else "events without user or item"
        return drop(tables, bad, self.name, what)


@dataclass(frozen=True)
class UnknownItems:
    """Events whose item is not in the catalogue."""

    name: ClassVar[str] = "unknown_items"

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Drop them."""
        bad = ~pl.col("item").is_in(tables.items["item"].implode()).fill_null(False)
        return drop(tables, bad, self.name, "events whose item is not in the catalogue")


@dataclass(frozen=True)
class ImpossibleTimes:
    """Events before 1970 or after `latest`, a date (tomorrow, if none is given).

    A time that is too late in seconds, but in milliseconds, microseconds or nanoseconds lies
    between 1990 and `latest`, is taken to be that.
    """

    name: ClassVar[str] = "impossible_times"
    latest: str = ""

    def __post_init__(self) -> None:
        try:
            datetime.fromisoformat(self.latest or "2000-01-01")
        except ValueError as error:
            raise ValueError(f"latest '{self.latest}' is no date such as 2024-12-31") from error

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Mend those in another unit, drop the others."""
        end, time = self._end(), pl.col("time")
        units = [
            pl.when((time // unit).is_between(SINCE, end)).then(time // unit) for unit in UNITS
        ]
        late = (time > end).fill_null(False)
        seconds = pl.when(late).then(pl.coalesce(units))
        mended = tables.interactions.filter(seconds.is_not_null())
        known = tables.interactions.with_columns(time=pl.coalesce(seconds, time))
        kept, findings = drop(
            tables.replace(interactions=known),
            (time < 0) | (time > end),
            self.name,
            f"events before 1970 or after {self.latest or 'tomorrow'}",
        )
        what = "events with times that are not in seconds"
        return kept, [
            Finding(self.name, what, mended=len(mended), examples=told(mended)),
            *findings,
        ]

    def _end(self) -> int:
        """The last second that is possible."""
        if self.latest:
            day = datetime.fromisoformat(self.latest).replace(tzinfo=UTC)
        else:
            day = datetime.now(UTC)
        return int((day + timedelta(days=1)).timestamp())


@dataclass(frozen=True)
class Duplicates:
    """Events that repeat an earlier one: same user, item, time and action."""

    name: ClassVar[str] = "duplicates"

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Drop all but the first."""
        bad = ~pl.struct("user", "item", "time", "action").is_first_distinct()
        return drop(tables, bad, self.name, "events recorded twice")


@dataclass(frozen=True)
class Cancelled:
    """Cancellations, and what they take back.

    An event whose action is `action` takes back the latest earlier event of the same user and item
    that has at least its value (a quantity, whatever its sign): all of that event, or so much of
    its value. A cancellation without a value, or of an event without one, takes back all of it.
    """

    name: ClassVar[str] = "cancelled"
    action: str = "cancel"

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Drop cancellations and what was wholly taken back; lessen what was so in part."""
        events = tables.interactions.with_row_index("_row")
        cancels = events.filter(pl.col("action") == self.action)
        left = self._left(
            events.join(cancels.select("user", "item").unique(), ["user", "item"], "semi")
        )
        gone = [row for row, value in left.items() if not value]
        undone = events.filter(pl.col("_row").is_in([*left]))
        kept = events.join(cancels, "_row", "anti").filter(~pl.col("_row").is_in(gone))
        kept = kept.with_columns(
            value=pl.col("_row").replace_strict(
                left, default=pl.col("value"), return_dtype=pl.Float64
            )
        )
        findings = [
            Finding(self.name, "cancellations", dropped=len(cancels), examples=told(cancels)),
            Finding(
                self.name,
                "events that were cancelled, wholly or in part",
                dropped=len(gone),
                mended=len(left) - len(gone),
                examples=told(undone),
            ),
        ]
        return tables.replace(interactions=kept.drop("_row")), findings

    def _left(self, events: pl.DataFrame) -> dict[int, float]:
        """What is left of each row that was cancelled: 0, or a part of its value."""
        left: dict[int, float] = {}
        for _, mine in events.sort("time", "_row").group_by("user", "item", maintain_order=True):
            standing: dict[int, float | None] = {}
            for row, value, action in mine.select("_row", "value", "action").iter_rows():
                if action != self.action:
                    standing[row] = value
                    continue
                rests = ((each, _rest(standing[each], value)) for each in reversed(standing))
                for earlier, rest in rests:
                    if rest is not None:
                        left[earlier] = standing[earlier] = rest
                        if not rest:
                            del standing[earlier]
                        break
        return left


def _rest(had: float | None, taken: float | None) -> float | None:
    """What is left of a value when some is taken back; None if it was not so much."""
    if had is None or not taken:
        return 0.0
    return had - abs(taken) if had >= abs(taken) else None


@dataclass(frozen=True)
class Bots:
    """Events of users who are faster than people are.

    Such a user has more than `daily` events on most of at least `days` days, or more than `at_once`
    in one second. Where all that is in one order has one time, let `at_once` be the longest order.
    """

    name: ClassVar[str] = "bots"
    daily: int = 500
    days: int = 3
    at_once: int = 100

    def __post_init__(self) -> None:
        for option in ("daily", "days", "at_once"):
            if getattr(self, option) < 1:
                raise ValueError(f"{option} is {getattr(self, option)}, it must be at least 1")

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Drop them."""
        dated = tables.interactions.filter(pl.col("time").is_not_null())
        daily = dated.group_by("user", pl.col("time") // DAY).len().group_by("user")
        busy = daily.agg(pl.len().alias("days"), pl.col("len").median()).filter(
            (pl.col("days") >= self.days) & (pl.col("len") > self.daily)
        )
        hasty = dated.group_by("user", "time").len().filter(pl.col("len") > self.at_once)
        bots = pl.concat([busy["user"], hasty["user"]]).unique()
        what = "events of users who are faster than people are"
        return drop(tables, pl.col("user").is_in(bots.implode()), self.name, what)


@dataclass(frozen=True)
class Repeats:
    """Events of an item that the user had before: for the question of what is new to a user."""

    name: ClassVar[str] = "repeats"

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Drop all but the earliest."""
        rows = tables.interactions.with_row_index("_row").sort("time", "_row")
        first = rows.filter(pl.struct("user", "item").is_first_distinct())["_row"]
        bad = ~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(first.implode())
        return drop(tables, bad, self.name, "events of an item that the user had before")
