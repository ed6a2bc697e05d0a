"""How well a recommender ranks: metrics of one relevant item among the full catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_auroc,
    binary_precision,
    binary_recall,
)
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error

from xrec.data.batches import Batch
from xrec.data.tasks import Task

CUTOFF = 10


@dataclass(frozen=True)
class Ranked:
    """For B users: rank (B,) of the item held out, and top (B, k), the items ranked first.

    A row of top ends in 0 where fewer than k items are left to rank.
    """

    user: Tensor
    rank: Tensor
    top: Tensor

    @classmethod
    def of(cls, scores: Tensor, batch: Batch, seen: Tensor | None) -> Ranked:
        """Rank each row's candidate by scores (B, N + 1), without the items of seen (B, N + 1)."""
        shown = scores if seen is None else scores.masked_fill(seen, -torch.inf)
        best = shown[:, 1:].topk(min(CUTOFF, scores.shape[1] - 1), dim=1)
        top = torch.where(best.values > -torch.inf, 1 + best.indices, 0)
        return cls(batch.user, ranks(scores, batch.candidate, seen), top)

    @classmethod
    def joined(cls, parts: Sequence[Ranked]) -> Ranked:
        """Several batches as one, on the CPU."""
        user, rank, top = (
            torch.cat([getattr(part, name) for part in parts]).cpu()
            for name in ("user", "rank", "top")
        )
        return cls(user, rank, top)


def ranks(scores: Tensor, target: Tensor, exclude: Tensor | None = None) -> Tensor:
    """(B,) int64 ranks, from 1, of each row's target among all items.

    scores (B, N + 1), column 0 being padding; target (B,) int64; exclude (B, N + 1) bool: items
    left out of the ranking, unless they are the target. Ties count against the target, so that a
    model that scores everything alike comes last and not first. A score that is not a number ranks
    its target last.
    """
    wanted = scores.gather(1, target[:, None])
    rivals = ~(scores < wanted)  # NaN rivals, and all rivals of a NaN, count as above
    rivals[:, 0] = False
    if exclude is not None:
        rivals &= ~exclude
    rivals.scatter_(1, target[:, None], True)
    return rivals.sum(1)


def ranking_metrics(rank: Tensor, cutoff: int = CUTOFF) -> dict[str, Tensor]:
    """Metrics of each user, (B,) float, from the rank (B,) of the one relevant item.

    NDCG@k is 1 / log2(1 + rank) up to rank k (the ideal DCG is 1); recall@k is whether the rank is
    at most k; MRR is 1 / rank, without a cut-off.
    """
    within = (rank <= cutoff).float()
    return {
        f"ndcg@{cutoff}": within / torch.log2(1 + rank.float()),
        f"recall@{cutoff}": within,
        "mrr": 1 / rank.float(),
    }


def coverage(top: Tensor, catalogue: int) -> float:
    """Share of the catalogue's items that are in anyone's top list (B, k), 0 being none."""
    return len(top[top > 0].unique()) / catalogue


def auc(said: Tensor, label: Tensor) -> float:
    """The area under the ROC curve: how often a 1 has more than a 0 has, ties counting half.

    said (M,) float, of any scale; label (M,) int64 of 0 and 1.
    """
    place = said.unique(return_inverse=True)[1]  # torchmetrics' sigmoid ties large logits
    return float(binary_auroc(place / len(place), label))


def classification_report(logits: Tensor, label: Tensor) -> dict[str, Any]:
    """AUC and, at probability 0.5, accuracy and each class's precision, recall, F1 and support.

    logits (M,) float, label (M,) int64 of 0 and 1.
    """
    said = (logits > 0).long()
    report: dict[str, Any] = {
        "auc": auc(logits, label),
        "accuracy": float(binary_accuracy(said, label)),
    }
    for name, p, truth in (("positive", said, label), ("negative", 1 - said, 1 - label)):
        precision, recall = float(binary_precision(p, truth)), float(binary_recall(p, truth))
        report[name] = {
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
            "support": int(truth.sum()),
        }
    return report


def task_report(task: Task, outputs: Tensor, known: Tensor) -> dict[str, Any]:
    """How well a task that does not rank is done; outputs (U, 2): what it says, and the truth.

    Values have their root mean squared and mean absolute error, beside those of always saying the
    mean of the training events, known (M,); logits have a `classification_report`. Rows without a
    truth are left out.
    """
    said, truth = outputs[~outputs[:, 1].isnan()].unbind(-1)
    if not len(truth):
        return {"events": 0}
    if task.loss != "mse":
        return {"events": len(truth), **classification_report(said, truth.long())}
    guess = known.mean().expand_as(truth)
    return {
        "events": len(truth),
        "rmse": float(mean_squared_error(said, truth, squared=False)),
        "mae": float(mean_absolute_error(said, truth)),
        "rmse_of_mean": float(mean_squared_error(guess, truth, squared=False)),
        "mae_of_mean": float(mean_absolute_error(guess, truth)),
    }
