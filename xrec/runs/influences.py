"""Influence as artefacts: the training interactions for and against each recommendation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import polars as pl
from torch import Tensor

from xrec.data.module import Data
from xrec.influence.checkpoint import Checkpoint
from xrec.influence.influence import Trace
from xrec.runs.kept import FOLDER
from xrec.runs.run import Run

SCHEMA = {
    "row": pl.Int64,  # of the recommendations that were looked at
    "user": pl.String,
    "item": pl.String,
    "title": pl.String,
    "speaks": pl.String,  # "for" or "against" the recommendation
    "place": pl.Int64,  # the strongest is 1
    "by_user": pl.String,  # whose interaction it was
    "by_item": pl.String,
    "by_title": pl.String,
    "time": pl.Int64,  # seconds since 1970, 0 where it is not known
    "value": pl.Float64,
}


def kept(run: Run) -> list[Checkpoint]:
    """The checkpoints that training kept, the earliest first."""
    found = [Checkpoint(path) for path in (run.folder / FOLDER).glob("*.safetensors")]
    return sorted(found, key=lambda each: each.epoch)


def write(
    run: Run, label: str, told: Trace, table: pl.DataFrame, top: int, epochs: Sequence[int]
) -> None:
    """Write `influence/<label>.parquet`, of B recommendations in `table`, and what it took.

    A recommendation has `top` rows of interactions for it, and as many against it, or fewer where
    fewer there are. epochs: those whose weights there were to look at.
    """
    rows = [
        (row, *about, *told_of)
        for row, about in enumerate(table.select("user", "item", "title").rows())
        for told_of in _strongest(run.data, told, told.values[row], top)
    ]
    run.store.write_table(f"influence/{label}.parquet", pl.DataFrame(rows, SCHEMA, orient="row"))
    looked = {
        "recommendations": len(told.values),
        "interactions": len(told.interactions),
        "drawn": told.interactions.drawn,
        "of": told.interactions.total,
        "parameters": told.parameters,
        "checkpoints": list(epochs),
    }
    found = {"target": "logit", "looked_at": looked, "notes": list(told.notes)}
    run.store.write_json(f"influence/{label}.json", {**found, "cost": asdict(told.cost)})


def _strongest(
    data: Data, told: Trace, value: Tensor, top: int
) -> Iterator[tuple[str, int, str, str, str, int, float]]:
    """Of one recommendation, values (M,): the interactions for it, and then those against it."""
    events = list(told.interactions)
    for speaks, sign in (("for", 1), ("against", -1)):
        order = (sign * value).argsort(descending=True, stable=True)[:top].tolist()
        for place, at in enumerate((at for at in order if sign * value[at] > 0), start=1):
            user, item, time = events[at]
            who, what = data.users.ids[user], data.items.ids[item]
            yield speaks, place, who, what, data.titles[item], time, float(value[at])
