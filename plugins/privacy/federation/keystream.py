"""Numbers that nobody can guess without the key they come from."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray
from scipy.special import ndtri

KEY = 32  # bytes
PARTS = 4  # Gaussians that are added up to one


def numbers(key: bytes, count: int) -> NDArray[np.uint64]:
    """(count,) uint64: ChaCha20's stream under a key that is used once (RFC 8439)."""
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(8 * count)), dtype="<u8").astype(np.uint64)


def gaussian(key: bytes, count: int) -> NDArray[np.float64]:
    """(count,) draws of the standard normal distribution.

    Each is made of several, so that the bits of a float do not give away what it was added to
    (Holohan and Braghin, 2021), as Opacus does in its secure mode.
    """
    uniform = ((numbers(key, PARTS * count) >> np.uint64(11)) + 0.5) * 2.0**-53
    parts: NDArray[np.float64] = ndtri(uniform).reshape(PARTS, count)
    return parts.sum(0) / PARTS**0.5
