"""A grid as a small table of text, for the end of `xrec bench tradeoff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from xrec.bench.tradeoff import QUALITY, SUMMARY, TABLE
from xrec.report.summary import ARROWS, Rows, mean, milliseconds

MEBIBYTE = 2**20
#: The columns that are shown beside the measures; the file has more.
REST = {
    "agreement_rank": "agreement",
    "p50": "p50 ms",
    "model_bytes": "model MiB",
    "leakage": "leakage",
    "leakage_explanation": "leakage by explanation",
}


def overview(folder: Path) -> tuple[tuple[str, ...], Rows]:
    """A row a cell. Of a measure that is taken under several removal operators, the first's."""
    better = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["better"]
    frame = pl.read_parquet(folder / TABLE)
    short = {name.partition("@")[0]: name for name in reversed(better)}
    heads = {QUALITY: QUALITY}
    for name, full in reversed(short.items()):
        heads[full] = f"{name} {ARROWS[better[full]]}"
    heads |= REST
    rows = [
        (f"{row['variant']}, {row['explainer']}", *(_shown(row, name) for name in heads))
        for row in frame.iter_rows(named=True)
    ]
    return ("variant, explainer", *heads.values()), rows


def failures(folder: Path) -> list[str]:
    """A sentence for each cell that failed."""
    frame = pl.read_parquet(folder / TABLE).drop_nulls("said")
    return [
        f"{variant}, {explainer}: {said}"
        for variant, explainer, said in frame.select("variant", "explainer", "said").rows()
    ]


def _shown(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if name == "p50" and value is not None:
        return milliseconds(value)
    if name.endswith("bytes") and value is not None:
        value /= MEBIBYTE
    return mean({"mean": value})
