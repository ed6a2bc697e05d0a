"""Whether anything that is to be predicted is known beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.data.split import HELD_OUT
from xrec.errors import DataError

#: Each stage at which events are held out, and what is called after it.
STAGES = {"validate": "validation", "test": "test"}


@dataclass(frozen=True)
class Check:
    """A way in which data leak, in words, and in how many of the cases looked at they do."""

    what: str
    found: int
    cases: int

    def row(self) -> dict[str, Any]:
        """The check as plain values, for the run's artefacts."""
        return asdict(self)


def leakage(data: Data) -> list[Check]:
    """Look for the future in the past, for held-out events in training, and for repeats.

    Raises DataError for a leak. That a held-out item was in its user's history already is none,
    where people come back to what they had: it is counted.
    """
    checks = list(_checks(data))
    for check in checks:
        if check.found:
            raise DataError(
                f"the split leaks: {check.found:,} of {check.cases:,} {check.what}; a plugin that "
                "changes how data are split or cut must keep what is held out from what is shown"
            )
    return [*checks, *_repeats(data)]


def _checks(data: Data) -> Iterator[Check]:
    for stage in STAGES:
        queries, at = data.queries(stage), held_out(data, stage)
        if data.options.split == "leave_last_out":
            late = from_the_future(queries, data.events.time[at])
            what = f"{STAGES[stage]} histories have an event later than the one held out"
            yield Check(what, int(late.sum()), len(queries))
    windows = data.windows()
    for stage in STAGES:
        shown = trained_on(windows, data, held_out(data, stage))
        what = f"{STAGES[stage]} events are in a training window"
        yield Check(what, int(shown.sum()), len(shown))


def _repeats(data: Data) -> Iterator[Check]:
    for stage in STAGES:
        queries = data.queries(stage)
        had = data.seen(queries.user, stage).gather(1, queries.candidate[:, None])
        what = f"{STAGES[stage]} items are ones that the user had before"
        yield Check(what, int(had.sum()), len(queries))


def held_out(data: Data, stage: str) -> Tensor:
    """(users,) int64: where among `data.events` the event is that each query is about."""
    return data.events.start[2:] - HELD_OUT[stage] - 1


def from_the_future(queries: Batch, time: Tensor) -> Tensor:
    """(B,) bool: whether a history has an event later than `time` (B,), its target's."""
    return ((queries.history > 0) & (queries.history_time > time[:, None])).any(1)


def trained_on(windows: Batch, data: Data, at: Tensor) -> Tensor:
    """(B,) bool: whether the events at places `at` (B,) of `data.events` are in training windows.

    An event is known by its user, item, time and action. Where several are alike in these, a window
    may show as many of them as are not held out.
    """
    user = torch.repeat_interleave(torch.arange(len(data.users)), data.events.start.diff())
    every = _events(user, data.events.item, data.events.time, data.events.action)
    kept = every.with_row_index("at").filter(~pl.col("at").is_in(_places(data)))
    rows, columns = windows.history.nonzero(as_tuple=True)
    shown = _events(
        windows.user[rows],
        *(
            tensor[rows, columns]
            for tensor in (windows.history, windows.history_time, windows.history_action)
        ),
    )
    keys = every.columns
    leaked = shown.unique().join(kept, on=keys, how="anti").with_columns(leaked=True)
    found = every[at.tolist()].join(leaked, on=keys, how="left", maintain_order="left")
    return torch.from_numpy(found["leaked"].fill_null(False).to_numpy().copy())


def _events(user: Tensor, item: Tensor, time: Tensor, action: Tensor) -> pl.DataFrame:
    columns = {"user": user, "item": item, "time": time, "action": action}
    return pl.DataFrame({name: column.numpy() for name, column in columns.items()})


def _places(data: Data) -> list[int]:
    """Places of all events that are held out at any stage."""
    return torch.cat([held_out(data, stage) for stage in STAGES]).tolist()
