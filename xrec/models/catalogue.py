"""Scoring the full catalogue with a model that can only score one candidate at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xrec.data.batches import Batch

if TYPE_CHECKING:
    from xrec.models.recommender import Recommender

ROWS = 4096  # pairs scored at once


def score_each(model: Recommender, batch: Batch) -> Tensor:
    """(B, N + 1) logits of every item for each row, one forward evaluation a pair."""
    count = len(model.data_module.items)
    users = torch.arange(len(batch), device=batch.user.device).repeat_interleave(count)
    items = torch.arange(count, device=batch.user.device).repeat(len(batch))
    with torch.no_grad():
        scores = [
            model(batch.rows(some).about(item))
            for some, item in zip(users.split(ROWS), items.split(ROWS), strict=True)
        ]
    return torch.cat(scores).view(len(batch), count)
