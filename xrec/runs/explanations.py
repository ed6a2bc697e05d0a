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
    """Write `explanations/<label>.parquet` and its cost; `table` has each row's user and item.

    A recommendation to which nothing contributed has one row, without a slot.
    """
    about = table.select("user", "item", "title").with_columns(
        row=pl.int_range(len(told), dtype=pl.Int64),
        score=pl.Series(told.score.double().cpu().numpy()),
        base=pl.Series(told.base.double().cpu().numpy()),
        error=pl.Series(told.error.double().cpu().numpy()),
        steps=pl.lit(None, pl.Int64) if told.steps is None else pl.Series(told.steps.cpu().numpy()),
    )
    contributions = pl.DataFrame(told.to_arrow())
    rows = about.join(contributions, on="row", how="left", maintain_order="left_right")
    store.write_table(f"explanations/{label}.parquet", rows)
    named = {"explainer": told.explainer, "target": told.target, "rows": len(told)}
    store.write_json(f"explanations/{label}.json", {**named, "cost": asdict(told.cost)})


def read(store: Store, label: str, inputs: Inputs) -> Explanation:
    """The explanation that was written of `inputs`."""
    rows = store.table(f"explanations/{label}.parquet")
    told = store.json(f"explanations/{label}.json")
    once = rows.unique("row", keep="first").sort("row")
    score, base, error = (
        torch.tensor(once[name].to_numpy()).to(inputs.values) for name in ("score", "base", "error")
    )
    some = rows.drop_nulls("slot")
    at = (torch.tensor(some["row"].to_numpy()), torch.tensor(some["slot"].to_numpy()))
    values, present = torch.zeros_like(inputs.values[..., 0]), torch.zeros_like(inputs.present)
    values[at], present[at] = torch.tensor(some["value"].to_numpy()).to(values), True
    deviation = None
    if len(some) and not some["standard_error"].null_count():
        deviation = torch.zeros_like(values)
        deviation[at] = torch.tensor(some["standard_error"].to_numpy()).to(values)
    steps = None if once["steps"].null_count() else torch.tensor(once["steps"].to_numpy())
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
        deviation,
        None if steps is None else steps.to(inputs.values.device),
    )
