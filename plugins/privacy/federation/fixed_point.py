"""Updates as whole numbers modulo 2^64, so that their sum is exact in any order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 24  # after the point: a number is off by 2^-25 at most
RANGE = 16.0  # the largest absolute value of a number
WEIGHT = 2**20  # the largest weight; 2^14 clients of it stay below 2^63


def encoded(update: NDArray[np.float64], weight: int) -> NDArray[np.uint64]:
    """(1 + P,) the weight and, times it, each number of an update (P,).

    Raises ValueError for a number that is out of range or none, and for a weight that is.
    """
    if not 1 <= weight <= WEIGHT:
        raise ValueError("the weight of the update is out of range")
    if not np.all(np.abs(update) <= RANGE):  # false for what is not a number, too
        raise ValueError("the update is out of range")
    whole = np.rint(update * 2**BITS).astype(np.int64) * weight
    return np.concatenate([[np.int64(weight)], whole]).view(np.uint64)


def decoded(total: NDArray[np.uint64]) -> tuple[NDArray[np.float64], int]:
    """The weighted sum (P,) of the updates, and the sum of the weights, of a sum of `encoded`."""
    whole = total.view(np.int64)
    return whole[1:] / 2**BITS, int(whole[0])
