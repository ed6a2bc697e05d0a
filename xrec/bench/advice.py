"""Which explainer to use in the time there is: steps, each worth the time it takes more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xrec.bench.averages import Averages
from xrec.bench.costs import Cost
from xrec.bench.files import Bench, Unit
from xrec.bench.front import front
from xrec.bench.verdicts import beating
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


def steps(bench: Bench, averages: Averages, timed: Mapping[Unit, Cost], measure: str) -> list[Step]:
    """What may be advised by a measure, quickest first; none where nothing is.

    Of the front of all settings of those who are eligible: who beats every floor, and is for sure
    better than the step before. Where there is no floor, only the latter.
    """
    sign, found = bench.sign(measure), list[Step]()
    for unit in _sound(bench, averages, measure, on_front(bench, averages, timed, measure)):
        gap = dict.fromkeys(("gap", "low", "high"), float("nan"))
        if found:
            before = averages.of(found[-1].unit, measure)
            gap = paired(sign * averages.of(unit, measure), sign * before)
            if not (gap["gap"] >= SEEN and gap["low"] > 0):
                continue
        score = averages.mean(unit, measure)
        found.append(Step(unit, timed[unit]["p50"], score, gap["gap"], gap["low"], gap["high"]))
    return found


def on_front(
    bench: Bench, averages: Averages, timed: Mapping[Unit, Cost], measure: str
) -> list[Unit]:
    """The front of all settings of the explainers that may be advised, quickest first."""
    points = {
        (label, setting): (timed[label, setting]["p50"], averages.mean((label, setting), measure))
        for label, entrant in bench.explainers.items()
        for setting in entrant.settings
        if entrant.eligible and (label, setting) in timed
    }
    return front(points, bench.better[measure])


def _sound(bench: Bench, averages: Averages, measure: str, units: Sequence[Unit]) -> Sequence[Unit]:
    """Those that beat every floor, corrected for their number; all, where there is no floor."""
    goods = {str(unit): bench.sign(measure) * averages.of(unit, measure) for unit in units}
    floors = {
        label: bench.sign(measure) * averages.of(entrant.unit, measure)
        for label, entrant in bench.explainers.items()
        if entrant.standing == "floor"
    }
    above = beating(goods, floors)
    return [unit for unit in units if above[str(unit)].sure] if above else units
