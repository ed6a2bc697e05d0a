"""Explaining a batch of any size within a bound of memory."""

from __future__ import annotations

import torch

from xrec.explain.explainer import Explainer
from xrec.explain.explanation import Explanation
from xrec.explain.memory import Meter, bounded, rows_within
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


def explain_within(
    max_bytes: int, explainer: Explainer, model: Recommender, inputs: Inputs, target: Target
) -> Explanation:
    """Explain B rows, as many at once as a bound of memory allows.

    What a row takes is measured on the first, of which the explanation is kept. Memory is that of
    tensors, above the inputs, on any device; a library's own arrays are not seen. A bound below
    what one row takes cannot be kept to.
    """
    rows = torch.arange(len(inputs), device=inputs.values.device)
    parts: list[Explanation] = []

    def explain(some: torch.Tensor) -> None:
        parts.append(explainer.explain(model, inputs.rows(some), target))

    with bounded(max_bytes):
        most = len(rows)
        if len(rows) > 1:
            some, rows = rows[:1], rows[1:]
            with Meter() as meter:
                explain(some)
            most = rows_within(max_bytes, meter.peak)
        for some in rows.split(most):
            explain(some)
    return Explanation.joined(parts)
