"""Which explainer is best by each measure, and which cannot be told from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xrec.fidelity.statistics import bootstrap
from xrec.report.summary import SEEN

if TYPE_CHECKING:
    from xrec.runs.store import Store


@dataclass(frozen=True)
class Standing:
    """The best explainers by a measure, the very best first, then by their means and their time.

    The others are those that a paired bootstrap over users does not tell from the first: the 95 %
    interval of the difference holds 0, or the difference is smaller than anyone would see.
    """

    measure: str
    better: str
    best: tuple[str, ...]


def standings(store: Store, labels: Sequence[str]) -> list[Standing]:
    """The standing of `labels` by each measure that any of them was given, from `fidelity/`."""
    found = {label: store.json(f"fidelity/{label}.json") for label in labels}
    ways = {name: way for each in found.values() for name, way in each["better"].items()}
    standing = []
    for measure, way in ways.items():
        if order := _order(found, measure, -1 if way == "higher" else 1):
            best = (label for label in order if _level(store, measure, order[0], label))
            standing.append(Standing(measure, way, tuple(best)))
    return standing


def _order(found: Mapping[str, Any], measure: str, sign: int) -> list[str]:
    """The labels that were given a figure, best first; of figures that look alike the quicker."""
    keys = {
        label: (sign * round(score["mean"], 3), each["latency"]["p50"])
        for label, each in found.items()
        if (score := each["measures"].get(measure)) and score["mean"] is not None
    }
    return sorted(keys, key=keys.__getitem__)


def _level(store: Store, measure: str, first: str, other: str) -> bool:
    """Whether the paired differences of two explainers hold 0, or are too small to be seen."""
    if first == other:
        return True
    rows = store.table(f"fidelity/{first}.parquet").join(
        store.table(f"fidelity/{other}.parquet"), on="user", suffix=" of other"
    )
    gap = bootstrap(rows[measure].to_numpy() - rows[f"{measure} of other"].to_numpy())
    if np.isnan(gap["mean"]):
        return False
    return abs(gap["mean"]) < SEEN or gap["low"] <= 0 <= gap["high"]
