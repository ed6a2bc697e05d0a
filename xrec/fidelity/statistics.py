"""Means with their uncertainty, and differences with theirs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

RESAMPLES = 1000
PAIRED = 4000  # more, as p-values are corrected for their number


def bootstrap(values: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Mean of values (B,) and its 95 % percentile bootstrap interval over users.

    NaNs are left out; the number used is `users`. Efron and Tibshirani, 1993.
    """
    kept = values[~np.isnan(values)]
    if not len(kept):
        return {"mean": float("nan"), "low": float("nan"), "high": float("nan"), "users": 0}
    mean = float(kept.mean())
    if len(kept) == 1 or np.ptp(kept) == 0:
        return {"mean": mean, "low": mean, "high": mean, "users": len(kept)}
    found = stats.bootstrap(
        (kept,),
        np.mean,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return {"mean": mean, "low": float(found.low), "high": float(found.high), "users": len(kept)}


def paired(
    mine: np.ndarray, other: np.ndarray, seed: int = 0, resamples: int = PAIRED
) -> dict[str, float]:
    """How far mine (B,) is above other (B,), of the same users: `gap`, its interval, and `p`.

    Users for whom either is NaN are left out. The interval is the 95 % percentile bootstrap's over
    users; p is the bootstrap's two-sided one of no difference: twice the share of resampled means
    on the far side of 0, at least 2 / (resamples + 1) (Davison and Hinkley, 1997, section 4.4).
    """
    gaps = mine - other
    gaps = gaps[~np.isnan(gaps)]
    if not len(gaps):
        return {"gap": float("nan"), "low": float("nan"), "high": float("nan"), "p": float("nan")}
    drawn = np.random.default_rng(seed).integers(len(gaps), size=(resamples, len(gaps)))
    means = gaps[drawn].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    tail = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return {"gap": float(gaps.mean()), "low": float(low), "high": float(high), "p": float(p)}


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that all hold at once (Holm, 1979); NaN stays."""
    known = sorted((value, at) for at, value in enumerate(p) if not np.isnan(value))
    found, most = [float("nan")] * len(p), 0.0
    for place, (value, at) in enumerate(known):
        most = max(most, min(1.0, (len(known) - place) * value))
        found[at] = most
    return found
