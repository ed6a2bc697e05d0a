"""Heads: from a user's state and an item's vector to what a task says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xrec.data.tasks import Task


class Head(nn.Module):
    """A product of state and item with a learned weight a dimension, and a bias.

    It begins as the plain product over √D. Where values are predicted it speaks in their units: it
    begins at their mean, and its product is in standard deviations. truth (E,): of the training
    events.
    """

    scale: Tensor

    def __init__(self, width: int, task: Task, truth: Tensor) -> None:
        super().__init__()
        known = truth[~truth.isnan()]
        squared = task.loss == "mse"
        self.weight = nn.Parameter(torch.full((width,), width**-0.5))
        self.bias = nn.Parameter(known.mean() if squared else torch.zeros(()))
        spread = known.std() if squared and len(known) > 1 else torch.ones(())
        self.register_buffer("scale", torch.where(spread > 0, spread, 1.0))

    def query(self, state: Tensor) -> Tensor:
        """States (…, D) as what is multiplied with item vectors, before the bias is added."""
        return state * self.weight * self.scale

    def forward(self, state: Tensor, item: Tensor) -> Tensor:
        """(…,) what is said of states (…, D) and items (…, D)."""
        return (self.query(state) * item).sum(-1) + self.bias
