"""After how many explanations an explainer that learns has paid off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xrec.bench.averages import Averages
from xrec.bench.costs import Cost
from xrec.bench.files import Bench, Unit
from xrec.fidelity.statistics import paired


@dataclass(frozen=True)
class BreakEven:
    """seconds: what fitting took. rival: the quickest explainer that needs no fitting and is as
    faithful, "" where there is none. explanations: how many until the time that each one saves adds
    up to what fitting took; None where it is never, as the rival is no slower.
    """

    seconds: float
    rival: str
    explanations: float | None


def break_even(
    bench: Bench, averages: Averages, timed: Mapping[Unit, Cost], measure: str
) -> dict[str, BreakEven]:
    """By label, of the explainers that learned, judged by `measure` as they were set in the end.

    As faithful is who is better, or is not told from it by the paired interval. It is the quickest
    of these, not the best, that one would use instead; n = fitting / (its time - own time).
    """
    learned = {e.label: e for e in bench.explainers.values() if _fitting(timed, e.unit)}
    found = {}
    for label, entrant in learned.items():
        own = timed[entrant.unit]
        rivals = [
            (timed[other.unit]["p50"], other.label)
            for other in bench.explainers.values()
            if other.label not in learned
            and other.unit in timed
            and _as_faithful(bench, averages, measure, other.unit, entrant.unit)
        ]
        time, rival = min(rivals, default=(float("nan"), ""))
        saved = time - own["p50"]
        paid = own["fit_seconds"] / saved if saved > 0 else None
        found[label] = BreakEven(own["fit_seconds"], rival, paid)
    return found


def _fitting(timed: Mapping[Unit, Cost], unit: Unit) -> bool:
    return "fit_seconds" in timed.get(unit, {})


def _as_faithful(bench: Bench, averages: Averages, measure: str, one: Unit, other: Unit) -> bool:
    """Whether one is not told to be worse than the other."""
    sign = bench.sign(measure)
    told = paired(sign * averages.of(one, measure), sign * averages.of(other, measure))
    return not np.isnan(told["gap"]) and told["high"] >= 0
