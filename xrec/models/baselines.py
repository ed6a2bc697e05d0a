"""Recommenders that learn nothing but counts, to stand beside every model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from xrec.data.module import Data
from xrec.models.quality import ranking_metrics, ranks

#: Scores (B, N + 1) of every item for users whose histories are rows of a (B, N + 1) matrix.
Ranker = Callable[[Tensor], Tensor]

NEIGHBOURS = (20, 50, 100, 200)
RIDGES = (50.0, 100.0, 200.0, 500.0, 1000.0)


def baselines(data: Data) -> dict[str, Ranker]:
    """Popularity, item-kNN and EASE, fitted on the training events.

    The neighbourhood of item-kNN and the ridge of EASE are those best by validation NDCG@10.
    """
    counts = data.seen(torch.arange(1, len(data.users)), "train").float()
    truth = data.queries("validate").candidate
    knn = [item_knn(counts, k) for k in NEIGHBOURS]
    linear = [ease(counts, ridge) for ridge in RIDGES]
    exclude = data.options.exclude_seen
    return {
        "popularity": popularity(counts),
        "item_knn": _best(knn, counts, truth, exclude),
        "ease": _best(linear, counts, truth, exclude),
    }


def _best(rankers: list[Ranker], seen: Tensor, truth: Tensor, exclude: bool) -> Ranker:
    def ndcg(ranker: Ranker) -> float:
        rank = ranks(ranker(seen), truth, seen.bool() if exclude else None)
        return float(ranking_metrics(rank)["ndcg@10"].mean())

    return max(rankers, key=ndcg)


def popularity(counts: Tensor) -> Ranker:
    """Every user is shown what most users had. counts (U, N + 1) of 0 and 1."""
    popular = counts.sum(0)
    return lambda seen: popular.expand_as(seen)


def item_knn(counts: Tensor, neighbours: int) -> Ranker:
    """Sum of cosine similarities to the items a user had, each item keeping its nearest.

    counts (U, N + 1) of 0 and 1. Sarwar et al., 2001.
    """
    matrix = sparse.csr_matrix(counts.numpy())
    norm = np.sqrt(np.maximum(matrix.power(2).sum(0), 1))
    cosine = torch.from_numpy(np.asarray((matrix.T @ matrix).todense() / norm.T / norm))
    cosine = cosine.float().fill_diagonal_(0)
    top = cosine.topk(min(neighbours, len(cosine)), dim=0)
    weight = torch.zeros_like(cosine).scatter_(0, top.indices, top.values)
    return lambda seen: seen @ weight


def ease(counts: Tensor, ridge: float) -> Ranker:
    """The linear item-to-item model with a zero diagonal, in closed form. Steck, 2019.

    counts (U, N + 1) of 0 and 1. With P the inverse of the ridged Gram matrix, the weight from
    item i to item j is -P[i, j] / P[j, j].
    """
    gram = counts.T.double() @ counts.double()
    inverse = torch.linalg.inv(gram + ridge * torch.eye(len(gram), dtype=torch.double))
    weight = (inverse / -inverse.diagonal()).float().fill_diagonal_(0)
    return lambda seen: seen @ weight
