"""Safetensors: a run without its people, which `Run.open` builds the model from again.

It has the weights, of a compressed model those alone, the texts' vectors, the encoder if it was
trained further, the items, and as much of the recipe as the model follows. The interactions and
users are gone. In their place stand a few made-up ones, with the same profile values and actions,
so that the vocabularies come out the same; no row is of a real person.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from xrec.data.batches import Batch
from xrec.data.tables import INTERACTIONS, Tables
from xrec.export.graph import Graph, Scorer
from xrec.runs.run import ADAPTED, WEIGHTS, Run
from xrec.runs.store import Store

#: Recipe keys that a model which is trained no longer needs.
LEFT_OUT = ("explain", "fidelity", "protocol", "report", "track", "tune", "adapt")
EVENTS = 4  # a user: what a split asks for


def write(run: Run, graphs: Sequence[Graph], batch: Batch, folder: Path) -> None:
    """Write the run that has no people."""
    store = Store(folder)
    store.begin({k: v for k, v in run.recipe.resolved.items() if k not in LEFT_OUT})
    for name, frame in unpeopled(run.data.tables).frames().items():
        store.write_table(f"data/{name}.parquet", frame)
    for name in ("texts.safetensors", _weights(run)):
        store.write_tensors(name, run.store.tensors(name))
    for name in run.steps:
        store.write_json(f"{name}.json", run.store.json(f"{name}.json"))
    if run.recipe.pretrain is not None:
        shutil.copytree(run.folder / ADAPTED, folder / ADAPTED)


def _weights(run: Run) -> str:
    """The file of the model's weights."""
    taken = run.taken(len(run.steps))
    return f"{taken[-1]}.safetensors" if taken else WEIGHTS


def read(folder: Path, graph: Graph) -> Scorer:
    """The model, built from the folder alone."""
    return partial(graph.answer, Run.open(folder).model)


def unpeopled(tables: Tables) -> Tables:
    """The same items, with made-up users in place of the real, who are gone with all they did.

    Every profile value and action that there was is there again, and nothing says whose it was or
    which went together. Relations are gone too: they may be between people.
    """
    real = tables.users.join(tables.interactions, on="user", how="semi")
    columns = {name: _spread(real[name]) for name in real.columns if name != "user"}
    actions = sorted(tables.interactions["action"].drop_nulls().unique())
    count = max([1, math.ceil(len(actions) / EVENTS), *map(len, columns.values())])
    names = [f"nobody {at}" for at in range(1, count + 1)]
    users = pl.DataFrame({"user": names}).with_columns(
        pl.Series(name, values + [None] * (count - len(values)), dtype=real.schema[name])
        for name, values in columns.items()
    )
    each = range(count * EVENTS)
    known = 1.0 if tables.interactions["value"].count() else None
    events = {
        "user": [names[at // EVENTS] for at in each],
        "item": [tables.items["item"][at % len(tables.items)] for at in each],
        "time": list(each),
        "value": [known for _ in each],
        "action": [actions[at % len(actions)] if actions else None for at in each],
    }
    interactions = pl.DataFrame(events, schema=dict(INTERACTIONS))
    return Tables(interactions=interactions, items=tables.items, users=users)


def _spread(column: pl.Series) -> list[Any]:
    """Each value of a column once; of lists, the longest first, so that they take as many slots."""
    values = sorted(column.explode().drop_nulls().unique())
    if column.dtype != pl.List(pl.String):
        return values
    longest = max((len(set(row) - {None}) for row in column.drop_nulls().to_list()), default=0)
    return [values[:longest], *([value] for value in values[longest:])]
