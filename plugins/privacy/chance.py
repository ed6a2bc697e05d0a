"""Chance that nobody can foresee: numbers from the system's secure generator."""

from __future__ import annotations

import math
import os

import numpy as np

BITS = 53  # of a float's fraction


def uniform(count: int, seed: int | None = None) -> np.ndarray:
    """(count,) float64 between 0 and 1, ends excluded.

    seed: for tests alone, as what is drawn can then be drawn again.
    """
    if seed is None:
        words = np.frombuffer(os.urandom(8 * count), dtype=np.uint64)
    else:
        words = np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)
    return ((words >> np.uint64(64 - BITS)).astype(np.float64) + 0.5) / 2.0**BITS


def laplace(count: int, scale: float, seed: int | None = None) -> np.ndarray:
    """(count,) Laplace noise, in grains that are small beside its scale.

    Rounded, as the last bits of noise in floating point tell values (Mironov, 2012).
    """
    drawn = uniform(count, seed) - 0.5
    noise = -scale * np.sign(drawn) * np.log1p(-2 * np.abs(drawn))
    grain = 2.0 ** math.floor(math.log2(scale / 1000))
    return np.round(noise / grain) * grain
