"""Draws that follow from a row alone, and leave the global generators as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from xrec.models.inputs import Inputs


def row_seeds(inputs: Inputs, seed: int) -> list[int]:
    """A seed for each row: it follows from `seed` and from which features are present.

    So it is the same whoever else is in the batch, and however much padding there is.
    """
    told = torch.stack([inputs.features.group, inputs.features.key], dim=-1).cpu()
    present = inputs.present.cpu()
    return [
        int.from_bytes(
            hashlib.blake2b(
                mine[there].numpy().tobytes(), digest_size=7, salt=seed.to_bytes(8, signed=True)
            ).digest()
        )
        for mine, there in zip(told, present, strict=True)
    ]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within, the global generators of torch and numpy are at `seed`; then, where they were."""
    before = np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(before)
