"""Noise that hides whether a client took part, and what it costs in privacy."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
from dp_accounting import (
    GaussianDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
    calibrate_dp_mechanism,
)
from dp_accounting.pld import PLDAccountant
from numpy.typing import NDArray

from xrec_plugins.privacy.federation.keystream import KEY, gaussian


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on the sum of updates no longer than `clip` (McMahan et al., 2018).

    multiplier: its standard deviation, in clips. expected: the clients that take part on average,
    which the sum is divided by, whoever did.
    """

    clip: float
    multiplier: float
    expected: float

    def mean(self, total: NDArray[np.float64], key: bytes | None = None) -> NDArray[np.float64]:
        """The mean (P,) of updates with this sum, by a fresh secret key unless one is given."""
        drawn = gaussian(secrets.token_bytes(KEY) if key is None else key, total.size)
        return (total + self.multiplier * self.clip * drawn) / self.expected


def spent(multiplier: float, fraction: float, rounds: int, delta: float) -> float:
    """Epsilon of so many rounds, in each of which a client takes part with chance `fraction`.

    A client more or less is what it hides (Abadi et al., 2016), by the privacy-loss distribution.
    """
    accountant = PLDAccountant()
    accountant.compose(_event(multiplier, fraction, rounds))
    return float(accountant.get_epsilon(delta))


def least_multiplier(epsilon: float, fraction: float, rounds: int, delta: float) -> float:
    """The least noise with which so many rounds cost no more than epsilon."""
    found = calibrate_dp_mechanism(
        PLDAccountant, lambda multiplier: _event(multiplier, fraction, rounds), epsilon, delta
    )
    return float(found)


def _event(multiplier: float, fraction: float, rounds: int) -> SelfComposedDpEvent:
    return SelfComposedDpEvent(PoissonSampledDpEvent(fraction, GaussianDpEvent(multiplier)), rounds)
