"""Noise that hides whether a client took part, and what it costs in privacy."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
from dp_accounting import (
    ExplicitBracketInterval,
    GaussianDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
    calibrate_dp_mechanism,
)
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld.accountant import get_smallest_gaussian_noise
from dp_accounting.pld.common import DifferentialPrivacyParameters
from numpy.typing import NDArray

from xrec_plugins.privacy.federation.keystream import KEY, gaussian

GRID = 1e-3  # of the privacy losses that are added up


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

    A client more or less is what it hides; by the privacy-loss distribution, from above.
    """
    accountant = _accountant()
    accountant.compose(_event(multiplier, fraction, rounds))
    return float(accountant.get_epsilon(delta))


def least_multiplier(epsilon: float, fraction: float, rounds: int, delta: float) -> float:
    """The least noise, to a thousandth, with which so many rounds cost epsilon at most."""
    wanted = DifferentialPrivacyParameters(epsilon, delta)
    whole = get_smallest_gaussian_noise(wanted, rounds)  # if all clients took part
    found = calibrate_dp_mechanism(
        _accountant,
        lambda multiplier: _event(multiplier, fraction, rounds),
        epsilon,
        delta,
        ExplicitBracketInterval(whole * fraction / 2, whole * 1.01),
        tol=whole * fraction / 1000,
    )
    return float(found)


def _accountant() -> PLDAccountant:
    return PLDAccountant(value_discretization_interval=GRID)


def _event(multiplier: float, fraction: float, rounds: int) -> SelfComposedDpEvent:
    return SelfComposedDpEvent(PoissonSampledDpEvent(fraction, GaussianDpEvent(multiplier)), rounds)
