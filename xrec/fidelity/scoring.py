"""Putting an explanation to the test by several metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from xrec.fidelity.metric import Case, Metric, plays


@dataclass(frozen=True)
class Scores:
    """What metrics say of B explanations: (B,) by each measure's name, and which way is better.

    A measure under a removal operator of several is called measure@operator.
    """

    values: dict[str, Tensor]
    better: dict[str, str]


def scored(metrics: Iterable[Metric], case: Case, operators: Sequence[str] = ()) -> Scores:
    """Take every measure; those that take features away under each operator, if any are named."""
    found = Scores({}, {})
    for metric in metrics:
        for absent in (operators or ("",)) if plays(metric) else ("",):
            judged = case.under(absent) if absent else case
            for name, values in metric.measure(judged).items():
                told = f"{name}@{absent}" if absent else name
                found.values[told], found.better[told] = values, metric.measures[name]
    return found
