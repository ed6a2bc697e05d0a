"""Random numbers that nobody can foresee, for what a guarantee of privacy hangs on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 2**18  # normal numbers that are made together
SUMMED = 4  # normal numbers that each of those is the sum of


@dataclass(frozen=True)
class Draws:
    """Numbers made of words of 64 random bits; `words(count)` gives as many as are asked for."""

    words: Callable[[int], NDArray[np.uint64]]

    @classmethod
    def of(cls, seed: int | None, *place: int) -> Draws:
        """From the operating system's generator, which is made for cryptography.

        For tests, from a seed that is not None: then a seed and a place give the same numbers.
        """
        if seed is None:
            return cls(lambda count: np.frombuffer(os.urandom(8 * count), dtype=np.uint64))
        return cls(np.random.PCG64(np.random.SeedSequence((seed, *place))).random_raw)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """(count,) from 0 to below 1."""
        found = (self.words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return found

    def normal(self, count: int) -> NDArray[np.float64]:
        """(count,) of mean 0 and deviation 1 (Box and Muller, 1958).

        Each is half the sum of four, as which bits of a single one are possible tells what it was
        added to (Mironov, 2012; four: Holohan and Braghin, 2021, and Opacus' secure mode).
        """
        parts = [
            self._normal(SUMMED * min(AT_ONCE, count - at)).reshape(SUMMED, -1).sum(0)
            for at in range(0, count, AT_ONCE)
        ]
        found: NDArray[np.float64] = np.concatenate([*parts, np.empty(0)]) / np.sqrt(SUMMED)
        return found

    def _normal(self, count: int) -> NDArray[np.float64]:
        radius = np.sqrt(-2 * np.log1p(-self.uniform(count)))
        found: NDArray[np.float64] = radius * np.cos(2 * np.pi * self.uniform(count))
        return found

    def seed(self) -> int:
        """A seed for a generator whose numbers need not be secret for long, from 0 to 2**63 - 1."""
        return int(self.words(1)[0] >> np.uint64(1))
