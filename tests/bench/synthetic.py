"""A benchmark's folder made up from what its findings should be.

An explainer's score for a user is its `skill` by the measure, plus what the user, the model and
the draw add: the same user is as easy for all, so that pairing tells apart what means alone do not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

BETTER = {
    "planted_precision": "higher",
    "planted_rank": "higher",
    "shapley_error": "lower",
    "deletion@remove": "lower",
    "deletion@baseline": "lower",
    "insertion@remove": "higher",
    "insertion@baseline": "higher",
    "infidelity@remove": "lower",
    "infidelity@baseline": "lower",
    "max_sensitivity": "lower",
    "randomisation": "lower",
    "sparsity": "higher",
}
OPTIONS = {
    "users": 200,
    "tuning": 100,
    "select": "infidelity@remove",
    "seeds": [0, 1],
    "draws": 2,
    "operators": ["remove", "baseline"],
    "budgets": [0.25, 0.5, 1.0],
    "variants": {},
}
ABOUT = {
    "xrec": "0.4.0",
    "torch": "2.13.0",
    "machine": "2 cores, 8 GB, no GPU",
    "commit": "10d1cdf",
    "data_digest": "5f1c9e2b7a",
    "started": "2025-06-01 12:00",
}


@dataclass
class Made:
    """An explainer to make up.

    skill: how good it is at every measure, from 0 to 1, or by measure; settings: of each, what of
    the skill is there and the milliseconds that it takes.
    """

    skill: float | Mapping[str, float]
    standing: str = ""
    settings: Mapping[str, tuple[float, float]] = field(default_factory=lambda: {"": (1.0, 10.0)})
    gates: Mapping[str, str] = field(default_factory=lambda: {"linear": "passed"})
    fit: float | None = None
    blind: Sequence[str] = ()  # measures that cannot judge it
    noise: float = 0.05

    @property
    def chosen(self) -> str:
        return list(self.settings)[-1]

    def at(self, measure: str, setting: str) -> float:
        skill = self.skill if isinstance(self.skill, float) else self.skill.get(measure, 0.5)
        return skill * self.settings[setting][0]


def budget(most: float, *names: str) -> dict[str, tuple[float, float]]:
    """Three budgets, of which the first is four times as quick as the last."""
    return dict(zip(names, [(0.8, most / 4), (0.93, most / 2), (1.0, most)], strict=True))


EXPLAINERS = {
    "integrated_gradients": Made(0.72, settings=budget(24, "steps=8", "steps=16", "steps=32")),
    "kernel_shap": Made(
        0.78, settings=budget(180, "evaluations=128", "evaluations=256", "evaluations=512")
    ),
    "permutation_shap": Made(
        0.77, settings=budget(240, "evaluations=128", "evaluations=256", "evaluations=512")
    ),
    "shapley_sampling": Made(0.74, settings=budget(210, "samples=25", "samples=50", "samples=100")),
    "gradient_shap": Made(0.7, settings=budget(30, "samples=5", "samples=10", "samples=20")),
    "smoothgrad": Made(0.55, settings=budget(26, "samples=5", "samples=10", "samples=20")),
    "gradient_x_input": Made(0.62, settings={"": (1.0, 1.8)}),
    "deep_lift": Made(0.66, settings={"": (1.0, 2.6)}),
    "fast_shapley": Made(0.69, settings={"": (1.0, 0.9)}, fit=41.0),
    "lime": Made(
        0.6,
        "heuristic",
        budget(170, "samples=125", "samples=250", "samples=500"),
        {"linear": "passed", "completeness": "excused: a surrogate need not add up"},
    ),
    "attention_rollout": Made(
        0.34,
        "heuristic",
        {"": (1.0, 1.1)},
        {"linear": "failed: contributions to a linear model are not what its terms are"},
    ),
    "exact_shapley": Made(0.8, "ceiling", {"": (1.0, 1900.0)}, blind=("shapley_error",)),
    "leave_one_out": Made(0.58, "floor", {"": (1.0, 5.5)}),
    "recency": Made(
        0.4, "floor", {"": (1.0, 0.05)}, {"linear": "excused: it never asks the model"}
    ),
    "random": Made(
        0.2, "floor", {"": (1.0, 0.04)}, {"linear": "excused: it never asks the model"}, noise=0.2
    ),
}


def write(
    folder: Path,
    explainers: Mapping[str, Made] = EXPLAINERS,
    *,
    users: int = 40,
    models: Sequence[int] = (0, 1),
    draws: Sequence[int] = (0, 1),
    better: Mapping[str, str] = BETTER,
    taken_up: float | None = 0.93,
    untimed: Sequence[tuple[str, str]] = (),
    variants: Sequence[str] = (),
    hard: float = 0.0,
    quirk: float = 0.0,
    seed: int = 0,
) -> Path:
    """Write the files.

    hard: what is taken off the scores of the third of users with the fewest events. quirk: how far
    explainers' skills differ between measures, at random.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    rows = _rows(generator, explainers, users, models, draws, better, hard, quirk)
    rows.write_parquet(folder / "rows.parquet")
    timed = [
        _timed(generator, model, label, setting, made)
        for model in models
        for label, made in explainers.items()
        for setting in made.settings
        if (label, setting) not in untimed
    ]
    schema = dict.fromkeys(("p50", "fit_seconds"), pl.Float64) | {
        "model": pl.Int64,
        "explainer": pl.String,
        "setting": pl.String,
    }
    latency = (
        pl.DataFrame(timed, infer_schema_length=None) if timed else pl.DataFrame(schema=schema)
    )
    latency.write_parquet(folder / "latency.parquet")
    told = _told(explainers, models, better, taken_up)
    (folder / "bench.json").write_text(json.dumps(told))
    if variants:
        grid = _grid(generator, variants, explainers, better)
        pl.DataFrame(grid, infer_schema_length=None).write_parquet(folder / "tradeoff.parquet")
    return folder


def _rows(generator, explainers, users, models, draws, better, hard, quirk) -> pl.DataFrame:
    events = generator.permutation(np.arange(users) % 30 + 3)
    ease = generator.normal(0, 0.15, (len(better), users))
    ease -= hard * (events <= np.quantile(events, 1 / 3))
    who = np.arange(users)
    frames = []
    for label, made in explainers.items():
        odd = generator.normal(0, quirk, len(better))
        own = generator.normal(0, made.noise, (len(better), users)) + ease + odd[:, None]
        for setting, model, draw in product(made.settings, models, draws):
            added = own + 0.02 * (model - 0.5) + generator.normal(0, 0.01, own.shape)
            cell = {
                "model": model,
                "split": "test",
                "explainer": label,
                "setting": setting,
                "draw": draw,
                "user": [f"u{at}" for at in who],
                "item": [f"i{at}" for at in (who * 7 + model) % 50],
                "events": events,
                "popularity": (who * 37 + model) % 211,
            }
            for at, (measure, way) in enumerate(better.items()):
                cell[measure] = _values(made, measure, setting, way, added[at])
            frames.append(pl.DataFrame(cell))
    spoiled = frames[0].with_columns(pl.lit("validate").alias("split"), pl.col(better) * 0 + 99)
    return pl.concat([*frames, spoiled], how="vertical_relaxed")


def _values(made: Made, measure: str, setting: str, way: str, added) -> pl.Series:
    """Of each user, how good it is: as it is where more is better, else what is missing from 1."""
    good = made.at(measure, setting) + np.asarray(added)
    known = pl.Series(good if way == "higher" else 1 - good, dtype=pl.Float64)
    return pl.Series([None] * len(known), dtype=pl.Float64) if measure in made.blind else known


def _timed(generator, model, label, setting, made) -> dict[str, Any]:
    p50 = made.settings[setting][1] / 1000 * (1 + 0.02 * model)
    return {
        "model": model,
        "explainer": label,
        "setting": setting,
        "first": 3 * p50,
        "p50": p50,
        "p95": 1.3 * p50,
        "throughput": 6 / p50,
        "batch": 64,
        "repeats": 20,
        "warm_ups": 2,
        "forward": 1 + int(p50 * 4000),
        "backward": 0,
        "threads": 2,
        "peak_bytes": int(2e7 * (1 + generator.random())),
        "fit_seconds": made.fit,
    }


def _told(explainers, models, better, taken_up) -> dict[str, Any]:
    return {
        "recipe": "synthetic",
        "about": ABOUT,
        "options": OPTIONS | {"seeds": list(models)},
        "better": dict(better),
        "meaning": {
            name.split("@")[0]: f"What {name.split('@')[0]} means, in a sentence."
            for name in better
        },
        "explainers": {
            label: {
                "name": label,
                "standing": made.standing,
                "gates": dict(made.gates),
                "says": f"What {label} is, in a sentence.",
                "settings": list(made.settings),
                "chosen": made.chosen,
                "said": None,
                "draws": True,
            }
            for label, made in explainers.items()
        },
        "plant_taken_up": {str(model): taken_up for model in models},
        "quality": {str(model): {"ndcg@10": 0.21 + 0.01 * model} for model in models},
        "asked": 1_204_000,
        "evaluated": 310_500,
        "minutes": 7.4,
    }


def _grid(generator, variants, explainers, better) -> list[dict[str, Any]]:
    """Each variant keeps less of everything than the one before."""
    rows = []
    for at, variant in enumerate(("as trained", *variants)):
        kept = 1 - 0.07 * at
        for label, made in explainers.items():
            row = {
                "variant": variant,
                "explainer": label,
                "ndcg@10": 0.21 * kept,
                "agreement_rank": kept if at else 1.0,
                "agreement_top": kept**2 if at else 1.0,
                "p50": made.settings[made.chosen][1] / 1000 * (1 - 0.1 * at),
                "peak_bytes": int(2e7 * kept),
                "model_bytes": int(9e6 / (1 + at)),
                "leakage": 0.56 - 0.01 * at,
                "leakage_explanation": 0.53 - 0.01 * at,
            }
            lost = 0.6 * (kept - 1) + generator.normal(0, 0.02, len(better))
            for (name, way), each in zip(better.items(), lost, strict=True):
                row[name] = _values(made, name, made.chosen, way, [each])[0]
            rows.append(row)
    return rows
