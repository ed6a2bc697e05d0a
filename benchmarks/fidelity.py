"""Which explanations can be believed, and can the benchmark that says so be trusted?

1. Explainers that are broken on purpose are put to every metric: which measures see which fault
   (`faults.py`).
2. `xrec bench fidelity` of a recipe: all explainers, by budgets, seeds and models.

    python benchmarks/fidelity.py [--full] [--dataset planted|movielens]

The full form is of recipes/fidelity.yaml, or of recipes/fidelity-movielens.yaml, and takes about
an hour; the short one is of a small world. Models that were trained, and cells that were done, are
kept in the user's cache. Raw rows, times and the report go to
benchmarks/results/fidelity-<dataset>/.
Ends with JSON: faults_caught and faults_planted; pareto, the explainers that nothing quicker is
better than, by the measure that leads the report; best_planted_precision of explainers, and
floor_planted_precision of random; minutes that the benchmark took, its models apart.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faults
from machine import arguments, finish, header
from platformdirs import user_cache_path

from xrec.bench.fidelity import bench
from xrec.bench.files import Bench
from xrec.bench.findings import Findings
from xrec.recipe import Recipe

PACKAGES = ("xrec", "shap", "captum", "torch", "lightning", "transformers", "polars", "numpy")
RECIPES = Path(__file__).parents[1] / "recipes"
DATASETS = {"planted": "fidelity.yaml", "movielens": "fidelity-movielens.yaml"}
#: What the short form changes in the recipe of the planted world.
SHORT: Mapping[str, Any] = {
    **faults.SHORT.changes,
    "explain": [
        {"name": "fast_shapley", "evaluations": 64},
        "gradient_x_input",
        "gradient_rollout",
    ],
    "fidelity": ["planted_truth", "shapley_agreement", "deletion", "infidelity", "seed_stability"],
    "protocol": {"repeats": 5, "batch": 16},
    "bench": {"users": 30, "tuning": 20, "budgets": [0.5, 1.0]},
}
FILES = ("rows.parquet", "latency.parquet", "bench.json", "report.html")


def main() -> None:
    """Put the faults to the metrics, then the explainers; tell what was found."""
    given = arguments("Which explanations can be believed?", tuple(DATASETS))
    size = faults.FULL if given.full else faults.SHORT
    settings = {"form": f"{'full' if given.full else 'short'}: {size}", "threads": given.threads}
    header(PACKAGES, settings)
    kept = user_cache_path("xrec") / "fidelity"
    rows, figures = faults.measure(size, kept)
    recipe = Recipe.load(RECIPES / DATASETS[given.dataset])
    if not given.full:
        recipe = Recipe.of({**recipe.resolved, **SHORT, "name": "short"})
    folder = bench(recipe, kept, tell=lambda text: print(text, flush=True))
    publish(folder, given.out / f"fidelity-{given.dataset}")
    finish(
        given.out / "fidelity-faults.csv", rows, figures | headline(Findings(Bench.open(folder)))
    )


def publish(folder: Path, out: Path) -> None:
    """Copy what a benchmark found, its report and a page for each explainer."""
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(folder / name, out / name)
    (out / "explainers").mkdir(exist_ok=True)
    for page in folder.glob("explainers/*.html"):
        shutil.copyfile(page, out / "explainers" / page.name)
    print(f"report: {out / 'report.html'}")


def headline(found: Findings) -> dict[str, Any]:
    """The figures of the last line."""
    leading = found.telling[0]
    precise = {
        label: each["planted_precision"].mean
        for label, each in found.scores.items()
        if "planted_precision" in each
    }
    earnest = [label for label in precise if found.bench.explainers[label].eligible]
    return {
        "pareto": [label for label, _ in found.front(leading)],
        "best_planted_precision": max((precise[label] for label in earnest), default=None),
        "floor_planted_precision": precise.get("random"),
        "minutes": round(found.bench.minutes, 2),
    }


if __name__ == "__main__":
    main()
