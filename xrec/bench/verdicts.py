"""Who beats every floor by a measure, and who cannot be told from the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xrec.bench.averages import Averages, mean
from xrec.bench.files import Bench
from xrec.fidelity.statistics import holm, paired
from xrec.report.summary import SEEN

SURE = 0.05  # a p-value of this or more may still be chance
Goods = Mapping[str, np.ndarray]  # by label, how good of each user: more is better


@dataclass(frozen=True)
class Beating:
    """How an explainer compares with the floors.

    gap: how much better it is than the best of them, below 0 where it is worse; low and high: the
    95 % interval of that. p: of its being no better than some floor, corrected (Holm) for the
    number of explainers. sure: it is better than every floor, and by so much that it shows.
    """

    gap: float
    low: float
    high: float
    p: float

    @property
    def sure(self) -> bool:
        """Whether it beats every floor."""
        return self.gap >= SEEN and self.p < SURE


@dataclass(frozen=True)
class Verdict:
    """How an explainer stands by one measure.

    place: 1 for the best of those that compete; 0 of a ceiling and of who fails a gate. level: it
    is the best, or is not told from it. floor: the best of the floors, "" where none was measured.
    beating: how it compares with the floors; None of a floor, and where none was measured.
    """

    place: int
    level: bool
    floor: str
    beating: Beating | None

    @property
    def beats(self) -> bool:
        """Whether it is surely better than every floor."""
        return self.beating is not None and self.beating.sure


def verdicts(bench: Bench, averages: Averages, measure: str) -> dict[str, Verdict]:
    """By label, of each explainer that the measure judges, as it was set in the end."""
    goods = _ordered(
        {
            label: bench.sign(measure) * averages.of(entrant.unit, measure)
            for label, entrant in bench.explainers.items()
        }
    )
    compete = [label for label in goods if bench.explainers[label].competes]
    floors = {e: good for e, good in goods.items() if bench.explainers[e].standing == "floor"}
    above = beating({e: goods[e] for e in goods if e not in floors}, floors)
    level = level_with_first({label: goods[label] for label in compete})
    best = next(iter(floors), "")
    return {
        label: Verdict(
            1 + compete.index(label) if label in compete else 0,
            label in level,
            best,
            above.get(label),
        )
        for label in goods
    }


def beating(goods: Goods, floors: Goods) -> dict[str, Beating]:
    """How each compares with the floors; empty where there are none.

    To be better than every floor it must be better than each, so the largest of the p-values is
    the one that counts (the intersection-union test: Berger, 1982).
    """
    floors = _ordered(floors)
    if not floors:
        return {}
    found = {
        label: [paired(mine, other) for other in floors.values()] for label, mine in goods.items()
    }
    worst = [max(_one_sided(told) for told in each) for each in found.values()]
    return {
        label: Beating(each[0]["gap"], each[0]["low"], each[0]["high"], p)
        for (label, each), p in zip(found.items(), holm(worst), strict=True)
    }


def level_with_first(goods: Goods) -> list[str]:
    """The first of `goods`, and those that are not told from it, at 5 % for all together (Holm)."""
    if not goods:
        return []
    first, *rest = goods
    gaps = [paired(goods[first], goods[label]) for label in rest]
    corrected = holm([gap["p"] for gap in gaps])
    return [first] + [
        label
        for label, gap, p in zip(rest, gaps, corrected, strict=True)
        if abs(gap["gap"]) < SEEN or p >= SURE
    ]


def _one_sided(told: Mapping[str, float]) -> float:
    """The p-value of a paired difference, 1 where it lies on the wrong side of 0."""
    return told["p"] if told["gap"] > 0 else 1.0


def _ordered(goods: Goods) -> dict[str, np.ndarray]:
    """Those of whom something is known, best first."""
    means = {label: mean(values) for label, values in goods.items()}
    known: Sequence[str] = [label for label in goods if not np.isnan(means[label])]
    return {label: goods[label] for label in sorted(known, key=lambda label: -means[label])}
