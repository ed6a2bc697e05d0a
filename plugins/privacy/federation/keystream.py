"""Numbers that nobody can guess without the key they come from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

from xrec_plugins.privacy.draws import Draws

KEY = 32  # bytes


def numbers(key: bytes, count: int) -> NDArray[np.uint64]:
    """(count,) uint64: ChaCha20's stream under a key that is used once (RFC 8439)."""
    return _stream(key)(count)


def gaussian(key: bytes, count: int) -> NDArray[np.float64]:
    """(count,) draws of the standard normal distribution, as `Draws` makes them of the stream."""
    return Draws(_stream(key)).normal(count)


def _stream(key: bytes) -> Callable[[int], NDArray[np.uint64]]:
    """What gives as many numbers as are asked for, those that follow the ones given before."""
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return lambda count: np.frombuffer(stream.update(bytes(8 * count)), "<u8").astype(np.uint64)
