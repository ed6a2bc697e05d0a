"""Does each measure see the faults that it claims to see? Explainers broken on purpose, put to all.

A sound explainer, fast Shapley values with many evaluations, explains a trained model of a planted
world; so does each fault made of it (`xrec.fidelity.faults`). Every metric that xrec brings judges
them all, for the same users. A measure catches a fault where it finds it worse than the sound one,
by the paired bootstrap over users, at a corrected p < 0.05; a fault is caught where every measure
that claims to see it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import polars as pl
import torch

from xrec.bench.judging import judged
from xrec.bench.plan import measures
from xrec.bench.sanity import ALPHA, NOTABLE, caught, verdicts
from xrec.explain.game import OPERATORS
from xrec.fidelity.faults import FAULTS, faulty
from xrec.fidelity.metric import Metric, sees
from xrec.plugins import factory, listings
from xrec.recipe import Recipe
from xrec.runs import pipeline
from xrec.runs.explaining import asking
from xrec.runs.run import Run

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
PARTS = ("name", "data", "encoder", "model", "train")  # of the recipe: no more is needed
OPERATED = ("remove", "baseline")
POINTS = 10  # of removal curves


@dataclass(frozen=True)
class Size:
    """Parts of the recipe that are others, the users asked about, evaluations of the sound one."""

    changes: Mapping[str, Any]
    users: int
    evaluations: int


SHORT = Size(
    changes={
        "data": {"dataset": "planted", "users": 400, "items": 100, "history": 14},
        "encoder": "hashed",
        "model": {"name": "sequential", "width": 32},
        "train": {"epochs": 10, "lr": 3e-3},
    },
    users=50,
    evaluations=192,
)
FULL = Size(changes={}, users=60, evaluations=256)


def measure(size: Size, runs: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Plant every fault, print which measures find it; returns raw rows and figures.

    runs: the folder of the model; one that was trained there before is not trained again.
    """
    run = trained(size, runs)
    some = metrics()
    rows = told(run, size, some)
    frames = dict(rows.partition_by("explainer", as_dict=True, include_key=False))
    better = measures(some, OPERATED)
    named = {name: frame for (name,), frame in frames.items()}
    found = caught(named.pop("sound"), named, better, claims(some, better))
    tell(found)
    verdict = verdicts(found)
    figures = {"faults_caught": sum(verdict.values()), "faults_planted": len(verdict)}
    return rows.to_dicts(), figures


def trained(size: Size, runs: Path) -> Run:
    """The recipe's model of the planted world, with what is of another size."""
    given = Recipe.load(RECIPE).resolved
    return pipeline.trained(
        Recipe.of({name: given[name] for name in PARTS} | dict(size.changes)), runs
    )


def metrics() -> list[Metric]:
    """Every metric that xrec brings, with the options it has by itself."""
    found = [each.name for each in listings("metric") if each.package == "xrec"]
    return [factory("metric", name)() for name in found]


def told(run: Run, size: Size, some: Sequence[Metric]) -> pl.DataFrame:
    """A row for each explainer and user, a column a measure; the sound one is called so."""
    order = torch.randperm(len(run.data.users) - 1, generator=torch.Generator().manual_seed(0))
    subject = run.first_choices(1 + order[: size.users], "test")
    print(f"plant taken up: {subject.taken_up:.2f} of {len(subject)} recommendations")
    sound = factory("explainer", "fast_shapley")(evaluations=size.evaluations, error=0)
    explainers = {"sound": sound, **{name: faulty(name, sound) for name in FAULTS}}
    frames = []
    for name, explainer in explainers.items():
        begin = perf_counter()
        rows = judged(subject, explainer, asking(run), some, OPERATED, POINTS)
        frames.append(rows.select(pl.lit(name).alias("explainer"), pl.all()))
        print(f"{name}: judged in {perf_counter() - begin:.0f} s", flush=True)
    return pl.concat(frames, how="diagonal")


def claims(some: Iterable[Metric], columns: Iterable[str]) -> dict[str, Sequence[str]]:
    """The faults that each column's measure claims to see, under whichever operator."""
    said = {name: faults for metric in some for name, faults in dict(sees(metric)).items()}
    found = {}
    for column in columns:
        name, _, operator = column.rpartition("@")
        found[column] = said.get(name if operator in OPERATORS else column, ())
    return found


def tell(found: pl.DataFrame) -> None:
    """Print a table for people, measures by faults, and each claim that does not hold."""
    faults = found["fault"].unique(maintain_order=True)
    print(f"\n| measure | {' | '.join(faults)} |\n|{'---|' * (1 + len(faults))}")
    for (name,), rows in found.group_by("measure", maintain_order=True):
        print(f"| {name} | {' | '.join(mark(row) for row in rows.iter_rows(named=True))} |")
    print(
        "\ncaught: as is claimed. missed: not, though it is claimed. also: caught without a claim. "
        "fooled: said to be better than the sound one. -: it cannot be judged.\n"
    )
    for row in found.filter(pl.col("claimed") & ~pl.col("caught")).iter_rows(named=True):
        seen = "cannot be judged" if row["p"] is None else figures_of(row)
        print(f"missed: {row['fault']} by {row['measure']}: {seen}")
    for fault, well in verdicts(found).items():
        print(f"{fault}: {'caught' if well else 'not caught'}")


def mark(row: Mapping[str, Any]) -> str:
    """What a measure makes of a fault, in a word."""
    if row["p"] is None:
        return "missed, -" if row["claimed"] else "-"
    if row["caught"]:
        return "caught" if row["claimed"] else "also"
    fooled = row["gap"] < -NOTABLE and row["p"] < ALPHA
    return ", ".join(["missed"] * row["claimed"] + ["fooled"] * fooled)


def figures_of(row: Mapping[str, Any]) -> str:
    """The means of a measure and how sure their difference is."""
    return f"{row['sound']:.3f} sound, {row['faulty']:.3f} faulty, p = {row['p']:.2g}"
