"""How private training is at best: a lower bound on epsilon by what an attack achieves.

Under (epsilon, delta)-differential privacy whoever attacks finds at most e^epsilon times as many of
those who were in training as they have false alarms, and delta more (Kairouz et al., 2015); the
same holds of what they clear. So an attack that does better shows that epsilon is larger, whatever
is claimed (Jagielski et al., 2020, "Auditing differentially private machine learning").

The threshold is chosen on one half of the users and judged on the other, by exact intervals
(Clopper and Pearson, 1934). These take each answer, of one user and one target, for a trial of its
own. Those of one target share a model, so that the confidence is that of the trials and not quite
that of the world; many targets make up for it. A bound of 0 says that this attack found nothing,
and not that there is nothing.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import beta

CONFIDENCE = 0.95


def clopper_pearson(
    count: np.ndarray | int, total: int, tail: float
) -> tuple[np.ndarray, np.ndarray]:
    """The exact bounds on a share, `count` of `total`, each of which fails with chance `tail`."""
    count = np.asarray(count)
    low = np.where(count > 0, beta.ppf(tail, count, total - count + 1), 0.0)
    high = np.where(count < total, beta.ppf(1 - tail, count + 1, total - count), 1.0)
    return low, high


def at_least(
    hits: np.ndarray | int,
    members: int,
    alarms: np.ndarray | int,
    others: int,
    delta: float,
    confidence: float = CONFIDENCE,
) -> np.ndarray:
    """The epsilon that `hits` of members and `alarms` of others show, at least 0."""
    tail = (1 - confidence) / 2
    low = clopper_pearson(hits, members, tail)[0]
    high = clopper_pearson(alarms, others, tail)[1]
    shown: np.ndarray = np.log(np.maximum(low - delta, np.finfo(float).tiny) / high)
    return np.maximum(shown, 0.0)


def lower_bound(
    said: np.ndarray,
    inside: np.ndarray,
    delta: float,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> float:
    """A lower bound on epsilon from what an attack says, said (K, U), and what is true, inside.

    U users in K targets. Whether those above the threshold are told to be in or those below it to
    be out is chosen with it.
    """
    order = np.random.default_rng(seed).permutation(said.shape[1])
    choosing, judging = np.array_split(order, 2)
    best: tuple[float, float, bool] = (-1.0, 0.0, True)
    for above in (True, False):
        thresholds, shown = _by_threshold(
            said[:, choosing], inside[:, choosing], delta, confidence, above
        )
        at = int(shown.argmax())
        best = max(best, (float(shown[at]), float(thresholds[at]), above))
    _, threshold, above = best
    told = said[:, judging] > threshold if above else said[:, judging] <= threshold
    true = inside[:, judging] == above
    return float(
        at_least(
            int((told & true).sum()),
            int(true.sum()),
            int((told & ~true).sum()),
            int((~true).sum()),
            delta,
            confidence,
        )
    )


def _by_threshold(
    said: np.ndarray, inside: np.ndarray, delta: float, confidence: float, above: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The thresholds that are worth a thought, and the epsilon that each shows."""
    thresholds = np.unique(said)
    true = inside == above
    counts = []
    for side in (true, ~true):
        below = np.searchsorted(np.sort(said[side]), thresholds, side="right")
        counts.append(side.sum() - below if above else below)
    sizes = int(true.sum()), int((~true).sum())
    return thresholds, at_least(counts[0], sizes[0], counts[1], sizes[1], delta, confidence)
