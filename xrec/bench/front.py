"""The Pareto front: what nothing else beats in both time and score."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import isnan
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def front(points: Mapping[Name, tuple[float, float]], better: str) -> list[Name]:
    """The names of points (time, score) that none dominates, quickest first.

    One dominates another if it is neither slower nor worse, and is quicker or better. better:
    "higher" or "lower", of the scores. Points of which either is NaN are on no front; of points
    that are the same, all are or none.
    """
    sign = 1 if better == "higher" else -1
    known = {
        name: (time, sign * score)
        for name, (time, score) in points.items()
        if not isnan(time) and not isnan(score)
    }
    ordered = sorted(known, key=lambda name: (known[name][0], -known[name][1]))
    kept: list[Name] = []
    for name in ordered:
        if not kept or known[name][1] > known[kept[-1]][1] or known[name] == known[kept[-1]]:
            kept.append(name)
    return kept
