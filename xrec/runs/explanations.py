"""Explanations as artefacts: a row a contribution, and a row a recommendation."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import polars as pl
import torch
from torch import Tensor

from xrec.data.features import OTHER
from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.explain.removal import Removal
from xrec.models.inputs import Inputs
from xrec.runs.store import Store


def write(store: Store, label: str, told: Explanation, table: pl.DataFrame) -> None:
    """Write `explanations/<label>.parquet` and its cost; `table` has each row's user and item.

    A recommendation to which nothing contributed has one row, without a slot. Where features were
    sought to take away, `removals/<label>.parquet` says what was found.
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
    named: dict[str, Any] = {
        "explainer": told.explainer,
        "target": told.target,
        "gradients": told.gradients,
        "rows": len(told),
    }
    if told.removal is not None:
        named["k"] = told.removal.k
        store.write_table(f"removals/{label}.parquet", _removals(told, about))
    store.write_json(f"explanations/{label}.json", {**named, "cost": asdict(told.cost)})


def seeks(store: Store, label: str) -> bool:
    """Whether an explainer sought features to take away."""
    return "k" in store.json(f"explanations/{label}.json")


def _removals(told: Explanation, about: pl.DataFrame) -> pl.DataFrame:
    """A row a recommendation: the slots taken away, and the names of what they are part of."""
    found, whole = told.removal, told.summed().removal
    assert found is not None
    assert whole is not None
    slots = [each.nonzero()[:, 0].tolist() for each in found.members]
    names = [
        [told.features.name(row, slot) for slot in each.nonzero()[:, 0].tolist()]
        for row, each in enumerate(whole.members)
    ]
    return about.select("user", "item", "title").with_columns(
        inside=pl.Series(found.inside.cpu().numpy()),
        proven=pl.Series(found.proven.cpu().numpy()),
        evaluations=pl.Series(found.evaluations.cpu().numpy()),
        slots=pl.Series(slots, dtype=pl.List(pl.Int64)),
        without=pl.Series(names, dtype=pl.List(pl.String)),
    )


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
    hidden = torch.zeros_like(present)
    hidden[at] = torch.tensor((some["feature"] == OTHER).to_numpy())
    features = inputs.features.hidden(hidden) if hidden.any() else inputs.features
    values[at], present[at] = torch.tensor(some["value"].to_numpy()).to(values), True
    deviation = None
    if len(some) and not some["standard_error"].null_count():
        deviation = torch.zeros_like(values)
        deviation[at] = torch.tensor(some["standard_error"].to_numpy()).to(values)
    steps = None if once["steps"].null_count() else torch.tensor(once["steps"].to_numpy())
    return Explanation(
        values,
        present,
        features,
        score,
        base,
        error,
        Cost(**told["cost"]),
        told["explainer"],
        told["target"],
        deviation,
        None if steps is None else steps.to(inputs.values.device),
        _removal(store.table(f"removals/{label}.parquet"), told["k"], present)
        if "k" in told
        else None,
        told.get("gradients", ""),  # which runs of before had not
    )


def _removal(rows: pl.DataFrame, k: int, present: Tensor) -> Removal:
    members = torch.zeros_like(present)
    for row, slots in enumerate(rows["slots"].to_list()):
        members[row, slots] = True
    inside, proven, evaluations = (
        torch.tensor(rows[name].to_numpy(), device=present.device)
        for name in ("inside", "proven", "evaluations")
    )
    return Removal(k, members, inside, proven, evaluations)
