"""The global generators of random numbers, which libraries draw from, seeded for a while."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Within, the generators of random, numpy and torch begin at `seed`: the CPU's, and a GPU's.

    device: that whose generator it is, beside the CPU's. Whatever happens inside, all are put back
    to where they were.
    """
    gpu = device if device is not None and device.type == "cuda" else None
    plain, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([] if gpu is None else [gpu]):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)  # and no other device's: those are not put back
        if gpu is not None:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(numbers)
