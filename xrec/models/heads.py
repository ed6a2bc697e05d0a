"""Heads: from what a model made of a user and an item to what a task says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xrec.data.tasks import Task


def units(task: Task, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Where a head begins and in what units it speaks: 0 and 1 of logits.

    Of values it is the mean and the standard deviation of those known, truth (M,).
    """
    zero, one = torch.zeros(()), torch.ones(())
    if task.loss != "mse":
        return zero, one
    spread = truth.std() if len(truth) > 1 else one
    return truth.mean(), torch.where(spread > 0, spread, one)


class Product(nn.Module):
    """A product of state and item with a learned weight a dimension, and a bias.

    It begins as the plain product over √D, in the task's `units`.
    """

    scale: Tensor

    def __init__(self, width: int, task: Task, truth: Tensor) -> None:
        super().__init__()
        middle, scale = units(task, truth)
        self.weight = nn.Parameter(torch.full((width,), width**-0.5))
        self.bias = nn.Parameter(middle)
        self.register_buffer("scale", scale)

    def query(self, state: Tensor) -> Tensor:
        """States (…, D) as what is multiplied with item vectors, before the bias is added."""
        return state * self.weight * self.scale

    def forward(self, state: Tensor, item: Tensor) -> Tensor:
        """(…,) what is said of states (…, D) and items (…, D)."""
        return (self.query(state) * item).sum(-1) + self.bias


class Linear(nn.Module):
    """A linear map of one vector, in the task's `units`."""

    scale: Tensor

    def __init__(self, width: int, task: Task, truth: Tensor) -> None:
        super().__init__()
        middle, scale = units(task, truth)
        self.weight = nn.Parameter(torch.randn(width) * width**-0.5)
        self.bias = nn.Parameter(middle)
        self.register_buffer("scale", scale)

    def forward(self, vector: Tensor) -> Tensor:
        """(…,) what is said of vectors (…, D)."""
        return vector @ self.weight * self.scale + self.bias
