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

import integrated
import scaling
import shapley
import torch
from machine import arguments, finish, header

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
    parts = {
        "shapley": shapley.race(model, inputs, size.repeats),
        "amortised": shapley.amortisation(model, data, batch, size.amortised, size.repeats),
        "integrated": integrated.measure(model, inputs, 3 * size.repeats),
        "scaling": scaling.measure(scale),
    }
    rows = [{"part": part, **row} for part, (found, _) in parts.items() for row in found]
    columns = dict.fromkeys(name for row in rows for name in row)
    whole = [{name: row.get(name, "") for name in columns} for row in rows]
    figures = {name: value for _, found in parts.values() for name, value in found.items()}
    finish(given.out / "explainers.csv", whole, figures)


if __name__ == "__main__":
    main()
