"""Explanations as artefacts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import torch
from explain.toys import random_toy

from xrec.runs import explanations
from xrec.runs.store import Store
from xrec_plugins.explainers.leave_one_out import LeaveOneOut


def test_rows_to_which_nothing_contributed_come_back(tmp_path: Path) -> None:
    model, inputs = random_toy(rows=4, slots=5, seed=0)
    present = inputs.present.clone()
    present[[0, 2]] = False
    inputs = inputs.with_present(present)
    told = LeaveOneOut().explain(model, inputs, lambda model, inputs: model.score(inputs))
    users = pl.DataFrame({"user": list("abcd"), "item": list("wxyz"), "title": list("WXYZ")})
    store = Store(tmp_path)
    explanations.write(store, "it", told, users)
    back = explanations.read(store, "it", inputs)
    for name in ("values", "present", "score", "base", "error"):
        torch.testing.assert_close(getattr(back, name), getattr(told, name))
    rows = store.table("explanations/it.parquet")
    assert rows["user"].unique(maintain_order=True).to_list() == list("abcd")
    assert rows.filter(pl.col("user") == "a")["slot"].to_list() == [None]


def test_steps_of_rows_come_back(tmp_path: Path) -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=0)
    told = LeaveOneOut().explain(model, inputs, lambda model, inputs: model.score(inputs))
    users = pl.DataFrame({"user": list("abc"), "item": list("xyz"), "title": list("XYZ")})
    store, steps = Store(tmp_path), torch.tensor([13, 25, 40])
    explanations.write(store, "it", replace(told, steps=steps), users)
    back = explanations.read(store, "it", inputs).steps
    assert back is not None
    assert back.tolist() == steps.tolist()
    explanations.write(store, "none", told, users)
    assert explanations.read(store, "none", inputs).steps is None
