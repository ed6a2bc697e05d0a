"""Linear maps whose inputs are evened out first, so that rounding them loses less.

A few of a transformer's numbers are far larger than the others, and a step that is wide enough for
them is too coarse for the rest. What they are divided by, the weights are multiplied with: the map
is the same, and the difficulty is shared (SmoothQuant, Xiao et al., 2023).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class Smoothed(nn.Module):
    """A linear map after a product of each number that it reads with a factor of its own."""

    def __init__(self, inner: nn.Module, wide: int) -> None:
        super().__init__()
        self.by, self.inner = nn.Parameter(torch.ones(wide), requires_grad=False), inner

    def forward(self, given: Tensor) -> Tensor:
        """(…, N) for (…, K)."""
        found: Tensor = self.inner(given * self.by)
        return found


def maps(module: nn.Module) -> dict[str, nn.Linear | Conv1D]:
    """The linear maps in a module, by name."""
    return {n: m for n, m in module.named_modules() if type(m) in (nn.Linear, Conv1D)}


@torch.no_grad()
def smooth(module: nn.Module, largest: Mapping[str, Tensor]) -> None:
    """Smooth all linear maps in a module, in place.

    largest (K,): of each map, by name, the largest that each number it reads was. Half of it, on a
    logarithmic scale, goes to the weights. A map that is not named is wrapped alone.
    """
    for name, inner in maps(module).items():
        lies = isinstance(inner, Conv1D)  # its weight is (K, N)
        made = Smoothed(inner, inner.weight.shape[0 if lies else 1])
        if name in largest:
            size = largest[name].clamp(min=1e-5).sqrt()
            size = size / size.mean()
            made.by.copy_(1 / size)
            inner.weight.mul_(size[:, None] if lies else size)
        module.set_submodule(name, made)
