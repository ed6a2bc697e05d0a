"""How fast is adaptive Integrated Gradients at the completeness error that captum's reach?

captum's IntegratedGradients is called as its documentation shows, with its default 50 steps, on the
whole batch, of the same model and users. What error it leaves sets the tolerance of ours: the
largest of a few at which both the mean and the largest of our errors, over all users, are no more
than captum's. At batch 1 each repeat explains another user.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from captum.attr import IntegratedGradients
from machine import compare, row, tell_times, timed
from torch import Tensor

from xrec.explain.explanation import Explanation
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec_plugins.explainers.adaptive_integrated_gradients import AdaptiveIntegratedGradients

BATCH = 64
TOLERANCES = [10 ** (-exponent / 6) for exponent in range(12, 38)]  # 0.01 down to 1e-6, 6 a decade
WARM_UP = 2


def captum(model: Recommender, inputs: Inputs) -> Tensor:
    """(B, F) by captum, called directly on the whole batch."""
    rows = torch.arange(len(inputs), device=inputs.values.device)

    def scored(values: Tensor, row: Tensor) -> Tensor:
        return model.score(inputs.rows(row).with_values(values))

    found: Tensor = IntegratedGradients(scored).attribute(
        inputs.values, baselines=zero(inputs), additional_forward_args=(rows,)
    )
    return found.sum(-1)


def zero(inputs: Inputs) -> Tensor:
    """The baseline of both sides: zero vectors, but in fixed slots."""
    return torch.where(inputs.features.fixed[..., None], inputs.values, 0)


@torch.no_grad()
def error(model: Recommender, inputs: Inputs, values: Tensor) -> Tensor:
    """(B,) the completeness error of contributions (B, F)."""
    change = model.score(inputs) - model.score(inputs.with_values(zero(inputs)))
    return (values.sum(1) - change).abs()


def matched(
    model: Recommender, inputs: Inputs, theirs: Tensor
) -> tuple[AdaptiveIntegratedGradients, Explanation, Tensor]:
    """Ours of the largest tolerance that leaves errors no larger than theirs, and what it says.

    If there is none, that of the smallest tolerance: then single precision allows for no less.
    """
    for tolerance in TOLERANCES:
        ours = AdaptiveIntegratedGradients(tolerance=tolerance)
        told = ours.explain(model, inputs, logit)
        mine = error(model, inputs, told.values)
        if mine.mean() <= theirs.mean() and mine.max() <= theirs.max():
            break
    return ours, told, mine


def turns(
    model: Recommender, ours: AdaptiveIntegratedGradients, batches: Sequence[Inputs]
) -> list[dict[str, float]]:
    """Both sides explain each batch, in turns; the first few batches do not count."""
    rows = []
    gc.collect()
    for at, inputs in enumerate([*batches[:WARM_UP], *batches]):
        sides: dict[str, Callable[[], object]] = {
            "adaptive": lambda inputs=inputs: ours.explain(model, inputs, logit),
            "captum": lambda inputs=inputs: captum(model, inputs),
        }
        order = list(sides) if at % 2 else list(reversed(sides))
        times = {side: timed(sides[side]) for side in order}
        if at >= WARM_UP:
            rows.append(row(at - WARM_UP, times))
    return rows


def measure(
    model: Recommender, inputs: Inputs, repeats: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Compare both sides on the rows of `inputs`; raw rows, and figures by name."""
    theirs = error(model, inputs, captum(model, inputs))
    ours, told, mine = matched(model, inputs, theirs)
    assert told.steps is not None
    for side, gap in (("captum", theirs), ("adaptive", mine)):
        print(f"{side}: completeness error {gap.mean():.2e} on average, {gap.max():.2e} at most")
    precision = torch.finfo(inputs.values.dtype).eps * float(told.score.abs().mean())
    print(f"precision of a score: {precision:.1e}")
    steps = told.steps.double()
    print(f"adaptive: tolerance {ours.tolerance:.2g}, {steps.mean():.1f} steps on average")
    print(f"steps: {int(steps.min())} to {int(steps.max())}, median {int(steps.median())}")
    figures: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for size, name in ((BATCH, ""), (1, "_b1")):
        parts = [
            inputs.rows((torch.arange(size) + size * at) % len(inputs)) for at in range(repeats)
        ]
        found = turns(model, ours, parts)
        print(f"batch {size}")
        tell_times(found, ("adaptive", "captum"))
        ratio = compare(found, "adaptive", "captum")
        figures[f"adaptive_ig_time_ratio{name}"] = round(ratio, 4)
        rows += [{"side": "adaptive and captum", "batch": size, **each} for each in found]
    figures |= _told(theirs, mine, ours.tolerance, steps)
    return rows, figures


def _told(theirs: Tensor, mine: Tensor, tolerance: float, steps: Tensor) -> Mapping[str, float]:
    """The figures beside the times."""
    return {
        "captum_error_mean": float(f"{theirs.mean():.3g}"),
        "captum_error_max": float(f"{theirs.max():.3g}"),
        "adaptive_error_mean": float(f"{mine.mean():.3g}"),
        "adaptive_error_max": float(f"{mine.max():.3g}"),
        "tolerance": float(f"{tolerance:.3g}"),
        "adaptive_steps_mean": round(float(steps.mean()), 1),
    }
