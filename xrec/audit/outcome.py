"""How well an attack does: its AUC, and how many it finds at few false alarms."""

from __future__ import annotations

from typing import Any

import numpy as np

RESAMPLES = 1000
ALARMS = (0.01, 0.001)  # of those who were not in training, the share that is taken to have been


def outcome(said: np.ndarray, inside: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """`auc` with its 95 % interval, `tpr` by share of false alarms, and how many were of each.

    said (K, U): what the attack says of each user in each of K targets; inside (K, U) bool: what is
    true. The AUC is the mean over targets, as an attacker has just one; its interval is the
    bootstrap's over users. `tpr` is by one threshold for all targets, and None where those outside
    are too few for a single false alarm to be as rare.
    """
    some = (said[inside], said[~inside])
    return {
        "auc": _interval(said, inside, seed),
        "tpr": {f"{share:g}": found(*some, share) for share in ALARMS},
        "members": len(some[0]),
        "others": len(some[1]),
    }


def areas(said: np.ndarray, inside: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """(R, K) the area under each target's ROC curve: Mann and Whitney's U, ties counting half.

    weight (R, U): how often each user counts, in each of R ways; once by default, and R is 1 then.
    NaN where all, or none, are inside.
    """
    weight = np.ones((1, said.shape[1])) if weight is None else weight
    pairs = zip(said, inside, strict=True)
    return np.stack([_area(one, members, weight) for one, members in pairs], axis=1)


def _area(said: np.ndarray, inside: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(R,) the area of one target, said (U,)."""
    order = np.argsort(said, kind="stable")
    said, member = said[order], weight[:, order] * inside[order]
    other = weight[:, order] - member
    until = np.concatenate([np.zeros((len(weight), 1)), other.cumsum(1)], axis=1)
    first, last = (np.searchsorted(said, said, side) for side in ("left", "right"))
    won = (until[:, first] + until[:, last]) / 2
    with np.errstate(invalid="ignore"):
        share: np.ndarray = (member * won).sum(1) / (member.sum(1) * other.sum(1))
    return share


def found(members: np.ndarray, others: np.ndarray, share: float) -> float | None:
    """The share of members (M,) above a threshold that at most this share of others (N,) is above.

    None where N is below 1 / share.
    """
    allowed = int(share * len(others) + 1e-9)
    if not allowed:
        return None
    threshold = np.sort(others)[::-1][allowed]
    return float((members > threshold).mean())


def _interval(said: np.ndarray, inside: np.ndarray, seed: int) -> dict[str, float]:
    """The mean AUC over targets, and the percentile bootstrap's interval over users."""
    users = said.shape[1]
    weight = np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), RESAMPLES)
    low, high = np.nanquantile(areas(said, inside, weight).mean(1), [0.025, 0.975])
    return {"mean": float(areas(said, inside).mean()), "low": float(low), "high": float(high)}
