"""The Gaussian mechanism: how much noise a sum needs, and the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import SystemRandom

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr


def delta_of(sigma: float, epsilon: float) -> float:
    """The delta at which noise of deviation `sigma` keeps `epsilon`, for sums of sensitivity 1.

    Exact (Balle and Wang, 2018, theorem 8).
    """
    near, far = 1 / (2 * sigma) - epsilon * sigma, -1 / (2 * sigma) - epsilon * sigma
    return float(ndtr(near) - math.exp(epsilon + log_ndtr(far)))


def noise_for(epsilon: float, delta: float) -> float:
    """The smallest deviation that keeps (epsilon, delta), for sums of sensitivity 1."""
    low, high = 1e-3, 1.0
    while delta_of(high, epsilon) > delta:
        high *= 2
    return float(brentq(lambda sigma: delta_of(sigma, epsilon) - delta, low, high, xtol=1e-9))


def noised(sums: Sequence[float], sigma: float) -> list[float]:
    """Sums with noise from the system's secure generator; rounded, as its last bits could tell.

    Mironov (2012) reads values off the low bits of noise in floating point.
    """
    secure = SystemRandom()
    grain = 2.0 ** math.floor(math.log2(sigma / 1000))
    return [grain * round((each + secure.gauss(0, sigma)) / grain) for each in sums]
