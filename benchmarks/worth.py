"""What a model is worth: how it ranks, how faithfully it is explained, and if as another is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from budgets import FLOOR

from xrec.bench.agreement import agreement
from xrec.bench.trained import drawn
from xrec.compress.chain import QUALITY
from xrec.explain.explanation import Explanation
from xrec.fidelity.statistics import bootstrap, paired
from xrec.models.quality import ranking_metrics
from xrec.runs.explaining import explained, ready
from xrec.runs.run import Run

POPULARITY = "popularity"
USERS = ("measure", "user", "value")  # columns of what was measured of users


def gains(runs: Sequence[Run], model: str | None = None) -> pl.DataFrame:
    """`user` and `value`, NDCG@10 of each test user, mean over runs; of a baseline, if named."""
    parts = []
    for run in runs:
        ranks = run.store.table("ranks.parquet").filter(model=model or run.recipe.model.name)
        found = ranking_metrics(torch.tensor(ranks["rank"].to_numpy()))[QUALITY]
        parts.append(ranks.select("user", value=pl.Series(found.double().numpy())))
    return pl.concat(parts).group_by("user").agg(pl.col("value").mean()).sort("user")


def quality(mine: pl.DataFrame, other: pl.DataFrame) -> dict[str, Any]:
    """NDCG@10 with its interval over users, and the paired gap to another's of the same users."""
    both = mine.join(other, on="user", suffix=" other").sort("user")
    mean = bootstrap(mine["value"].to_numpy())
    gap = ahead(both["value"].to_numpy(), both["value other"].to_numpy())
    return {**interval("ndcg10", mean), "users": mean["users"], **gap}


def interval(name: str, mean: Mapping[str, float]) -> dict[str, float]:
    """Columns of a raw row: a mean with its interval."""
    return {name: mean["mean"], f"{name} low": mean["low"], f"{name} high": mean["high"]}


def ahead(mine: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Columns of a raw row: the paired gap to another's values of the same users (B,)."""
    gap = paired(mine, other)
    return interval("gap", {"mean": gap["gap"], "low": gap["low"], "high": gap["high"]})


def between(row: Mapping[str, Any], name: str, digits: int = 4) -> str:
    """A mean with its interval, as a table shows it."""
    mean, low, high = (f"{row[key]:.{digits}f}" for key in (name, f"{name} low", f"{name} high"))
    return f"{mean} [{low}, {high}]"


def fidelity(run: Run) -> tuple[list[dict[str, Any]], list[pl.DataFrame]]:
    """A row for each explainer and measure, with the paired gap to the floor; and by user."""
    floor = run.store.table(f"fidelity/{FLOOR}.parquet")
    rows, users = [], []
    for label in run.explainers():
        own = run.store.table(f"fidelity/{label}.parquet")
        better = run.store.json(f"fidelity/{label}.json")["better"]
        for measure in own.columns[1:]:
            values = own[measure].to_numpy()
            rows.append(
                {
                    "explainer": label,
                    "measure": measure,
                    "better": better[measure],
                    **interval("value", bootstrap(values)),
                    **ahead(values, floor[measure].to_numpy()),
                }
            )
            users.append(by_user(f"{label} {measure}", own["user"], values))
    return rows, users


def drift(
    plain: Run, others: Mapping[str, Run], count: int
) -> tuple[list[dict[str, Any]], dict[str, list[pl.DataFrame]]]:
    """How alike other models explain what a plain one recommends first; and the same by user.

    A row for each model and explainer: Spearman's correlation over a row's features, mean over
    users, with words added up to events.
    """
    subject = plain.first_choices(drawn(plain, count), "test")
    explainers = {label: ready(plain, label) for label in plain.explainers() if label != FLOOR}

    def said(run: Run, label: str) -> Explanation:
        with torch.no_grad():
            inputs = run.model.embed(subject.batch)
        return explained(plain, explainers[label], inputs, run.model)

    rows: list[dict[str, Any]] = []
    users: dict[str, list[pl.DataFrame]] = {name: [] for name in others}
    for label in explainers:
        reference = said(plain, label)
        for name, run in others.items():
            values = agreement(said(run, label), reference)["agreement_rank"].numpy()
            rows.append({"model": name, "explainer": label, **interval("rank", bootstrap(values))})
            users[name].append(by_user(f"{label} agreement", subject.table["user"], values))
    return rows, users


def by_user(measure: str, users: pl.Series, values: np.ndarray) -> pl.DataFrame:
    """What was measured of each user (B,)."""
    return pl.DataFrame({"measure": measure, "user": users, "value": values.astype(float)})
