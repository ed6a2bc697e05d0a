"""Safetensors: a run without its people, which `Run.open` builds the model from again.

It has the weights, the texts' vectors, the items, and as much of the recipe as the model follows.
The interactions and users are gone. In their place stand a few made-up ones, with the same profile
values and actions, so that the vocabularies come out the same; no row is of a real person.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from xrec.data.batches import Batch
from xrec.data.tables import Tables
from xrec.errors import XrecError
from xrec.export.graph import CATALOGUE, Graph, Scorer
from xrec.runs.run import Run
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
    for name in ("texts.safetensors", "weights.safetensors"):
        store.write_tensors(name, run.store.tensors(name))


def read(folder: Path, graph: Graph) -> Scorer:
    """The model, built from the folder alone."""
    model = Run.open(folder).model
    loaded = Graph(graph.name, model, graph.inputs)
    return loaded.answer
