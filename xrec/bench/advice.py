"""Which explainer to use in the time there is: steps, each worth the time it takes more."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from xrec.bench.averages import Averages
from xrec.bench.costs import Cost
from xrec.bench.files import Bench, Unit
from xrec.bench.front import front
from xrec.fidelity.statistics import paired
from xrec.report.summary import SEEN


@dataclass(frozen=True)
class Step:
    """A unit to use where there are `seconds` for an explanation, and less than the next takes.

    gain, low, high: how much better it is than the step before, with the 95 % interval; NaN of the
    first.
    """

    unit: Unit
    seconds: float
    score: float
    gain: float
    low: float
    high: float


def on_front(
    bench: Bench,
    averages: Averages,
    timed: Mapping[Unit, Cost],
    measure: str,
    among: Collection[str],
) -> list[Unit]:
    """The front of the explainers with the labels `among`, quickest first.

    As they were set in the end: the best of all settings would be chosen on the users that judge.
    """
    points = {
        unit: (timed[unit]["p50"], averages.mean(unit, measure))
        for unit in bench.chosen
        if unit[0] in among and unit in timed
    }
    return front(points, bench.better[measure])


def steps(
    bench: Bench,
    averages: Averages,
    timed: Mapping[Unit, Cost],
    measure: str,
    among: Collection[str],
) -> list[Step]:
    """Of that front, who is surely better than the step before, quickest first."""
    sign, found = bench.sign(measure), list[Step]()
    for unit in on_front(bench, averages, timed, measure, among):
        gap = dict.fromkeys(("gap", "low", "high"), float("nan"))
        if found:
            before = averages.of(found[-1].unit, measure)
            gap = paired(sign * averages.of(unit, measure), sign * before)
            if not (gap["gap"] >= SEEN and gap["low"] > 0):
                continue
        score = averages.mean(unit, measure)
        found.append(Step(unit, timed[unit]["p50"], score, gap["gap"], gap["low"], gap["high"]))
    return found
