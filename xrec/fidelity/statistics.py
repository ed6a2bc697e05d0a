"""Means with their uncertainty."""

from __future__ import annotations

import numpy as np
from scipy import stats

RESAMPLES = 1000


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
