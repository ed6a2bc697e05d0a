"""Whether measures, or models, put explainers in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

from xrec.bench.averages import Averages
from xrec.bench.files import Bench
from xrec.bench.scores import by_value

LEAST = 3  # explainers: two are in order or not, which says little


def tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's τ-b of two scores of the same explainers, where both are known.

    1: the same order, 0: unrelated, -1: the opposite. NaN where fewer than three are known, or one
    puts them in no order at all.
    """
    pair = np.array([one, other], dtype=float)
    known = pair[:, ~np.isnan(pair).any(0)]
    if known.shape[1] < LEAST or (np.ptp(known, axis=1) == 0).any():
        return float("nan")
    return float(kendalltau(*known).statistic)


def of_measures(bench: Bench, averages: Averages, measures: Sequence[str]) -> np.ndarray:
    """(measures, measures) τ between the orders of explainers, ceilings left out.

    A ceiling is first by definition where a measure asks for what it computes.
    """
    units = [each.unit for each in bench.explainers.values() if each.standing != "ceiling"]
    goods = [[bench.sign(m) * averages.mean(unit, m) for unit in units] for m in measures]
    taus = [[tau(one, other) for other in goods] for one in goods]
    return np.array(taus).reshape(len(goods), len(goods))


def of_models(bench: Bench) -> dict[str, tuple[float, float]]:
    """By measure, the mean and the least τ between the orders that two models give.

    Only where there are several models; ceilings are left out.
    """
    compete = [label for label, each in bench.explainers.items() if each.standing != "ceiling"]
    found = {}
    means = by_value(bench, "model")
    for measure in bench.judged:
        wide = means.pivot("model", index="explainer", values=measure)
        rows = {label: orders for label, *orders in wide.iter_rows()}
        orders = list(zip(*(rows[label] for label in compete if label in rows), strict=True))
        taus = [tau(one, other) for one, other in combinations(orders, 2)]
        if known := [each for each in taus if not np.isnan(each)]:
            found[measure] = float(np.mean(known)), min(known)
    return found
