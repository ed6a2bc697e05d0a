"""The files that a benchmark leaves: raw rows, times, and what they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl

from xrec.bench.about import about
from xrec.bench.plan import Explained, Judgement, measures
from xrec.files import written
from xrec.report.words import meaning
from xrec.runs.run import Run

if TYPE_CHECKING:
    from xrec.bench.fidelity import Benchmark

ROWS, LATENCY, SUMMARY = "rows.parquet", "latency.parquet", "bench.json"


def gathered(work: Benchmark, picked: Mapping[str, str], judgements: Sequence[Judgement]) -> None:
    """Write rows.parquet, latency.parquet and bench.json.

    picked: the setting of each explainer that was chosen, by label.
    """
    told, rows = about(work.runs[work.first]), work.rows(judgements)
    with written(work.store.folder / ROWS) as partial:
        rows.write_parquet(partial, metadata={"xrec": json.dumps(told)})
    with written(work.store.folder / LATENCY) as partial:
        _times(work).write_parquet(partial)
    costs = [work.store.json(f"cells/{what.name}.json") for what in judgements]
    metrics, operators = work.metrics, work.options.operators
    summary = {
        "recipe": work.recipe.name,
        "about": told,
        "options": asdict(work.options),
        "better": measures(metrics, operators),
        "meaning": {name: meaning(metric, name) for metric in metrics for name in metric.measures},
        "explainers": {
            each.label: _explainer(work, each, picked) for each in work.entrants.explained
        },
        "plant_taken_up": {seed: _taken_up(work, seed) for seed in work.runs},
        "quality": {seed: _quality(run) for seed, run in work.runs.items()},
        "asked": sum(each["asked"] for each in costs),
        "evaluated": sum(each["evaluated"] for each in costs),
        "minutes": work.cells.seconds / 60,
    }
    with written(work.store.folder / SUMMARY) as partial:
        partial.write_text(json.dumps(summary, indent=1, ensure_ascii=False), encoding="utf-8")


def _times(work: Benchmark) -> pl.DataFrame:
    settings = [one for each in work.entrants.able() for one in each.settings]
    rows = [
        {
            "model": work.first,
            "explainer": one.label,
            "setting": one.name,
            **work.store.json(f"cells/{one.clock}.json"),
        }
        for one in settings
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _explainer(work: Benchmark, each: Explained, picked: Mapping[str, str]) -> dict[str, Any]:
    """What is known of an explainer beside its scores; `said`, why it was left out."""
    made, trial = each.own.make(), work.entrants.trial(each.label)
    return {
        "name": each.own.choice.name,
        "standing": each.own.standing,
        "says": meaning(made),
        "said": trial["said"],
        "gates": trial["gates"],
        "settings": [one.name for one in each.settings if one.name not in trial["unable"]],
        "chosen": picked.get(each.label),
        "draws": hasattr(made, "seed"),
    }


def _taken_up(work: Benchmark, seed: int) -> float | None:
    """The share of a model's recommendations that use the plant; None where nothing is planted."""
    return work.subject(seed, "test").taken_up


def _quality(run: Run) -> dict[str, float]:
    ranking = run.store.json("quality.json")["ranking"][run.recipe.model.name]
    return {name: found["mean"] for name, found in ranking.items()}
