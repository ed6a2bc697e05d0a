"""The global generators of random numbers, which libraries draw from, seeded for a while."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within, the generators of random, numpy and torch (on the CPU) begin at `seed`.

    Whatever happens inside, they are put back to where they were.
    """
    plain, numbers, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # and no device's: those are not put back
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(numbers)
        torch.set_rng_state(tensors)
