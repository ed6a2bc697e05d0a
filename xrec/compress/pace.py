"""How long models take to recommend, timed in turns, so that other work hits all alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import torch

from xrec.data.batches import Batch
from xrec.models.recommender import Recommender


@torch.no_grad()
def paces(models: Sequence[Recommender], batch: Batch, repeats: int = 20) -> list[float]:
    """Median seconds that each model takes to rank the catalogue for one user of `batch`.

    Rows are asked for one at a time, and once before anything is timed: what compiles does so then.
    """
    rows = [batch.rows(slice(at, at + 1)) for at in range(min(len(batch), repeats))]
    for model in models:
        for row in rows:
            model.catalogue(row)
    taken: list[list[float]] = [[] for _ in models]
    for at in range(repeats):
        for each, model in zip(taken, models, strict=True):
            begin = time.perf_counter()
            model.catalogue(rows[at % len(rows)])
            each.append(time.perf_counter() - begin)
    return [median(each) for each in taken]
