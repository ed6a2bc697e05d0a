"""What an explanation costs, over the models on which it was timed."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from xrec.bench.averages import UNIT
from xrec.bench.files import Bench, Unit

KEYS = ("model", *UNIT)
Cost = Mapping[str, float]


def costs(bench: Bench) -> dict[Unit, Cost]:
    """By unit, the median over models of every figure of `latency.parquet` that is known.

    A unit that was not timed is left out.
    """
    figures = pl.col([name for name in bench.latency.columns if name not in KEYS])
    medians = bench.latency.group_by(UNIT, maintain_order=True).agg(figures.cast(float).median())
    found: dict[Unit, Cost] = {}
    for row in medians.iter_rows(named=True):
        unit = str(row.pop("explainer")), str(row.pop("setting") or "")
        known = {name: value for name, value in row.items() if value is not None}
        if "p50" in known:
            found[unit] = known
    return found
