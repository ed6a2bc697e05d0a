"""A table of vectors in small integers."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

MOST = 127  # of int8, as many above 0 as below


class RoundedTable(nn.Embedding):
    """Vectors (V, D) as int8 and, as its `weight` (V, 1), the step of each.

    A vector differs from what it was by no more than half its step, its largest number over 127.
    """

    integers: Tensor

    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows, 1)
        self.held = rows * width  # numbers
        self.register_buffer("integers", torch.zeros(rows, width, dtype=torch.int8))

    @classmethod
    @torch.no_grad()
    def of(cls, table: nn.Module, rows: int) -> Self:
        """The vectors that a table gives for its ids, of which there are so many."""
        vectors = table(torch.arange(rows))
        made = cls(*vectors.shape)
        step = vectors.abs().amax(1, keepdim=True) / MOST
        made.weight.copy_(step)
        made.integers.copy_((vectors / step.clamp(min=torch.finfo(step.dtype).tiny)).round())
        return made

    @property
    def nbytes(self) -> int:
        """Of all that it keeps."""
        return self.integers.nbytes + self.weight.nbytes

    def forward(self, input: Tensor) -> Tensor:
        """(…, D) the vectors of ids (…) int64."""
        vectors: Tensor = self.integers[input] * super().forward(input)
        return vectors
