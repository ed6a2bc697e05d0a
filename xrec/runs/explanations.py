"""Explanations as artefacts: a row a contribution, and a row a recommendation."""

from __future__ import annotations

from dataclasses import asdict

import polars as pl
import torch

from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.models.inputs import Inputs
from xrec.runs.store import Store


def write(store: Store, label: str, told: Explanation, table: pl.DataFrame) -> None:
    """Write `explanations/<label>.parquet` and its cost; `table` has each row's user and item."""
    about = (
        table.select("user", "item", "title")
        .with_row_index("row")
        .with_columns(
            pl.col("row").cast(pl.Int64),
            score=pl.Series(told.score.double().cpu().numpy()),
            base=pl.Series(told.base.double().cpu().numpy()),
            error=pl.Series(told.error.double().cpu().numpy()),
        )
    )
    contributions = pl.DataFrame(told.to_arrow()).join(about, on="row", how="left")
    store.write_table(f"explanations/{label}.parquet", contributions)
    named = {"explainer": told.explainer, "target": told.target, "rows": len(told)}
    store.write_json(f"explanations/{label}.json", {**named, "cost": asdict(told.cost)})


def read(store: Store, label: str, inputs: Inputs) -> Explanation:
    """The explanation that was written of `inputs`."""
    rows = store.table(f"explanations/{label}.parquet")
    told = store.json(f"explanations/{label}.json")
    at = (torch.tensor(rows["row"].to_list()), torch.tensor(rows["slot"].to_list()))
    values, present = torch.zeros_like(inputs.values[..., 0]), torch.zeros_like(inputs.present)
    values[at], present[at] = torch.tensor(rows["value"].to_list()).to(values), True
    once = rows.group_by("row", maintain_order=True).first().sort("row")
    score, base, error = (
        torch.tensor(once[c].to_list()).to(values) for c in ("score", "base", "error")
    )
    return Explanation(
        values,
        present,
        inputs.features,
        score,
        base,
        error,
        Cost(**told["cost"]),
        told["explainer"],
        told["target"],
    )
