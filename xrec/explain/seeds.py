"""Seeds of what is drawn for a row, that follow from the row alone."""

from __future__ import annotations

import hashlib

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
