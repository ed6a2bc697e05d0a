"""Explaining a batch of any size within a bound of memory."""

from __future__ import annotations

import torch

from xrec.explain.explainer import Explainer
from xrec.explain.explanation import Explanation
from xrec.explain.memory import Meter, bounded
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

TRIAL = 4  # rows of which the memory is measured


def explain_within(
    max_bytes: int, explainer: Explainer, model: Recommender, inputs: Inputs, target: Target
) -> Explanation:
    """Explain B rows, as many at once as a bound of memory allows.

    The first few rows are measured, and their explanations kept; as many times as many rows take
    as many times the memory at most. Memory is that of tensors, above the inputs, on any device; a
    library's own arrays are not seen. A bound below what one row takes cannot be kept to.
    """
    rows = torch.arange(len(inputs), device=inputs.values.device)
    parts: list[Explanation] = []

    def explain(some: torch.Tensor) -> None:
        parts.append(explainer.explain(model, inputs.rows(some), target))

    with bounded(max_bytes):
        most = len(rows)
        if len(rows) > TRIAL:
            some, rows = rows[:TRIAL], rows[TRIAL:]
            with Meter() as meter:
                explain(some)
            most = max(1, TRIAL * max_bytes // max(1, meter.peak))
        for some in rows.split(most):
            explain(some)
    return Explanation.joined(parts)
