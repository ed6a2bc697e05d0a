"""The same recommendations with feature vectors a little beside their own."""

from __future__ import annotations

import torch
from torch import Tensor

from xrec.models.inputs import Inputs


def perturbed(inputs: Inputs, noise: Tensor) -> Inputs:
    """Each row N times in turn, its features moved by one of N noises (B, N, F, D) of its own.

    Noise is in units of the row's size, the root mean square of the numbers in its features'
    vectors. Fixed and absent slots stay as they are.
    """
    rows, copies = noise.shape[:2]
    at = torch.arange(rows, device=inputs.values.device).repeat_interleave(copies)
    there = inputs.players[..., None]
    numbers = there.sum((1, 2)).clamp(min=1) * inputs.values.shape[-1]
    squares = torch.where(there, inputs.values, 0).square().sum((1, 2))
    size = (squares / numbers).sqrt()[:, None, None, None]
    moved = torch.where(there[:, None], noise.to(inputs.values) * size, 0).flatten(0, 1)
    repeated = inputs.rows(at)
    return repeated.with_values(repeated.values + moved)
