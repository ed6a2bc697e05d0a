"""What training minimises, of what a model says and what is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.data.tasks import Task


def contrast(task: Task, positive: Tensor, negative: Tensor) -> Tensor:
    """(…,) loss of events that followed, positive (…,), against items drawn, negative (…, N).

    "bce": binary cross-entropy, in which an event weighs as much as all its negatives together.
    "softmax": cross-entropy of an event among itself and its negatives, the sampled softmax of
    Jean et al., 2015, whose correction is a constant where items are drawn uniformly.
    """
    if task.loss == "softmax":
        return torch.logaddexp(positive, torch.logsumexp(negative, dim=-1)) - positive
    return (functional.softplus(-positive) + functional.softplus(negative).mean(-1)) / 2


def regress(task: Task, said: Tensor, truth: Tensor) -> Tensor:
    """Mean loss of what was said (M,) against what is true (M,): "mse", or "bce" of logits.

    Truths that are NaN, not known, are left out; the loss is 0 if none is known.
    """
    known = ~truth.isnan()
    truth = torch.where(known, truth, 0)
    if task.loss == "mse":
        each = (said - truth).square()
    else:
        each = functional.binary_cross_entropy_with_logits(said, truth, reduction="none")
    return torch.where(known, each, 0).sum() / known.sum().clamp(min=1)


class Weighting(nn.Module):
    """Learned weights of tasks, by the noise that each is found to have (Kendall et al., 2018).

    With s the logarithm of a task's noise variance, its loss L becomes exp(-s) L + s / 2, half of
    exp(-s) L where L is a squared error.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.place = {task.name: at for at, task in enumerate(tasks)}
        self.scale = [0.5 if task.loss == "mse" else 1.0 for task in tasks]
        self.log_variance = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses of some tasks, weighted; what is not of a task stays as it is."""
        weighted = {}
        for name, loss in losses.items():
            at = self.place.get(name)
            if at is None:
                weighted[name] = loss
                continue
            noise = self.log_variance[at]
            weighted[name] = self.scale[at] * torch.exp(-noise) * loss + noise / 2
        return weighted
