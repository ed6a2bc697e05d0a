"""Explanations as artefacts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import torch
from explain.toys import random_toy

from xrec.explain.target import logit
from xrec.runs import explanations
from xrec.runs.store import Store
from xrec.testing import small_model
from xrec_plugins.explainers.counterfactual import Counterfactual
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


def test_what_was_sought_to_take_away_comes_back(tmp_path: Path) -> None:
    model, inputs = small_model(history=3, users=4)
    told = Counterfactual(6).explain(model, inputs, logit)
    assert told.removal.size.tolist() == [0, 1, 1, 0]
    users = pl.DataFrame({"user": list("abcd"), "item": list("wxyz"), "title": list("WXYZ")})
    store = Store(tmp_path)
    explanations.write(store, "it", told, users)
    assert explanations.seeks(store, "it")
    back = explanations.read(store, "it", inputs)
    assert back.removal.k == 6
    for name in ("members", "inside", "proven", "evaluations"):
        assert torch.equal(getattr(back.removal, name), getattr(told.removal, name))
    torch.testing.assert_close(back.values, told.values)
    rows = store.table("removals/it.parquet")
    assert rows["user"].to_list() == list("abcd")
    for row, (slots, names) in enumerate(zip(rows["slots"], rows["without"], strict=True)):
        assert names.to_list() == [told.features.name(row, slot) for slot in slots]


def test_other_explanations_sought_nothing(tmp_path: Path) -> None:
    model, inputs = small_model()
    users = pl.DataFrame({"user": list("abcd"), "item": list("wxyz"), "title": list("WXYZ")})
    store = Store(tmp_path)
    explanations.write(store, "it", LeaveOneOut().explain(model, inputs, logit), users)
    assert not explanations.seeks(store, "it")
    assert explanations.read(store, "it", inputs).removal is None
    assert not (tmp_path / "removals").exists()


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
