"""What an explainer scored by each measure, and how that varies with users, models and draws."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from xrec.bench.averages import UNIT, Averages
from xrec.bench.files import Bench
from xrec.fidelity.statistics import bootstrap

Range = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """A mean over users with its 95 % bootstrap interval over them.

    models, draws: the least and the most of the means that each model, or each draw of the
    explainer, gives alone; None where there was one only.
    """

    mean: float
    low: float
    high: float
    users: int
    models: Range | None = None
    draws: Range | None = None


def scores(bench: Bench, averages: Averages) -> dict[str, dict[str, Score]]:
    """By label and measure, of the chosen settings; only what could be judged."""
    models, draws = _ranges(bench, "model"), _ranges(bench, "draw")
    found: dict[str, dict[str, Score]] = {label: {} for label in bench.explainers}
    for label, entrant in bench.explainers.items():
        for measure in bench.judged:
            told = bootstrap(averages.of(entrant.unit, measure))
            if told["users"]:
                key = (label, measure)
                found[label][measure] = Score(
                    told["mean"],
                    told["low"],
                    told["high"],
                    int(told["users"]),
                    models.get(key),
                    draws.get(key),
                )
    return found


def by_value(bench: Bench, column: str) -> pl.DataFrame:
    """The means over users by explainer and value of "model" or "draw", of chosen settings."""
    taken = pl.col(bench.judged)
    chosen = pl.DataFrame(bench.chosen, schema=dict.fromkeys(UNIT, pl.String), orient="row")
    return (
        bench.test.join(chosen, on=UNIT, how="semi")
        .group_by("explainer", column, "user")
        .agg(taken.mean())
        .group_by("explainer", column)
        .agg(taken.mean())
        .sort("explainer", column)
    )


def _ranges(bench: Bench, column: str) -> dict[tuple[str, str], Range]:
    """By label and measure, the least and the most of the means by the values of a column."""
    means, found = by_value(bench, column), {}
    for label in bench.explainers:
        part = means.filter(pl.col("explainer") == label)
        for measure in bench.judged:
            each = part[measure].drop_nulls().to_list()
            if len(each) > 1:
                found[label, measure] = min(each), max(each)
    return found
