"""What do explanations cost, beside those of captum and shap called as their documentation shows?

One model and its users are explained by all: a `sequential` one, trained on a planted world in
which a recommendation has 12 features, so that exact Shapley values can be had.

1. Fast Shapley and its rivals, each at the smallest budget at which it reaches a relative error of
   0.1 (`shapley.py`).
2. Amortised Shapley beside a forward pass; corrected by 64 coalitions, beside shap's
   KernelExplainer at 512 (`shapley.py`).
3. Adaptive Integrated Gradients at the completeness error that captum's 50 steps leave
   (`integrated.py`).
4. Cost by the history's length and the batch, and peak memory within a bound (`scaling.py`).

    python benchmarks/explainers.py [--full]

Ends with JSON: shapley_time_ratio and shapley_evaluation_ratio, ours over the best rival;
amortised_latency_ratio_b1 and _b64; amortised_rank_correlation; corrected_error_ratio, ours over
shap's; adaptive_ig_time_ratio at batch 64 and _b1 at batch 1; peak_over_bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import integrated
import scaling
import shapley
import torch
from machine import arguments, finish, header, keep

PACKAGES = ("xrec", "shap", "captum", "torch", "lightning", "numpy")


def main() -> None:
    """Train the model, let all explain it, and tell what they took."""
    given = arguments("What do explanations cost, beside those of captum and shap?")
    size, scale = (shapley.FULL, scaling.FULL) if given.full else (shapley.SHORT, scaling.SHORT)
    settings = {
        "form": f"{'full' if given.full else 'short'}: {size}; {scale}",
        "seed": shapley.SEED,
        "threads": given.threads,
        "bound": f"{scaling.BOUND / 2**20:g} MiB",
        "warm-up": "every side explains all before it is timed, and at least twice",
        "repeats": f"{size.repeats} of Shapley values, {scale.repeats} of each length and batch",
    }
    header(PACKAGES, settings)
    model, data = shapley.trained(size.epochs)
    batch = shapley.unseen(model, data, size.users)
    with torch.no_grad():
        inputs = model.embed(batch)
    parts: dict[str, Callable[[], tuple[list[dict[str, Any]], dict[str, Any]]]] = {
        "shapley": lambda: shapley.race(model, inputs, size.repeats),
        "amortised": lambda: shapley.amortisation(model, data, batch, size.amortised, size.repeats),
        "integrated": lambda: integrated.measure(model, inputs, 3 * size.repeats),
        "scaling": lambda: scaling.measure(scale),
    }
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    for part, measure in parts.items():
        found, told = measure()
        rows += [{"part": part, **row} for row in found]
        figures |= told
        keep(given.out / "explainers.csv", rows)  # it takes long: what was found is not lost
    finish(given.out / "explainers.csv", rows, figures)


if __name__ == "__main__":
    main()
