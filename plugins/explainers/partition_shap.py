"""Clustered SHAP: Owen values of features in a hierarchy, by the shap library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
import shap
import torch

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.masks import BATCH, Found, Masks, check_masks, explain_masks
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class PartitionShap:
    """Owen values: Shapley values recursively, of clusters among clusters (Owen, 1977).

    Clustered SHAP is not SHAP: a feature comes in beside its own cluster, and with other clusters
    as a whole or not at all. The clusters are words in their event, neighbouring events, the events
    as a group, and the groups (behaviour, profile, item …), all halved until two are left.

    Options: evaluations, at most so many a row; absent, what becomes of a feature outside the
    coalition; level, whether a feature is a part (a word) or a whole (its event); seed, for ties.

    Where evaluations do not suffice (about n² do for n features) the smallest clusters share what
    they got by the number of their features. The values sum to score - base by construction; so
    that the gap tells of the error only where no cluster was left, and it is NaN elsewhere.
    """

    budget: ClassVar[str] = "evaluations"

    excused: ClassVar[dict[str, str]] = {
        "symmetry": "twins in different clusters are in different games"
    }

    evaluations: int = 512
    absent: str = "remove"
    level: str = "part"
    seed: int = 0

    def __post_init__(self) -> None:
        check_masks(self.absent, self.level, evaluations=(self.evaluations, 4))

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row, as shap does."""
        game = (model, inputs, target, self.absent, self.level, self.seed)
        return explain_masks("partition_shap", self._attribute, *game)

    def _attribute(self, masks: Masks) -> Found:
        if len(masks) == 1:  # no two to cluster
            both = masks.value(torch.cat([masks.everyone, masks.nobody]))
            return Found(both[:1] - both[1:])
        tree = clusters(masks)
        background = shap.maskers.Partition(np.zeros((1, len(masks))), clustering=tree)
        explainer = shap.PartitionExplainer(masks.array, background)
        told = explainer(
            np.ones((1, len(masks))), max_evals=self.evaluations, batch_size=BATCH, silent=True
        )
        return Found(
            torch.from_numpy(told.values[0]), gap_tells=needed(tree) <= self.evaluations - 2
        )


def clusters(masks: Masks) -> np.ndarray:
    """(n - 1, 4) the hierarchy of n players, as scipy.cluster.hierarchy writes one.

    A row is two clusters joined, the height, and how many players it has; 0 … n - 1 are players.
    """
    features = masks.game.inputs.features
    first = [int(mine[0]) for mine in masks.members]
    group = [int(features.group[0, slot]) for slot in first]
    whole = [int(features.whole[0, slot]) for slot in first]
    joined: list[list[float]] = []
    size = dict.fromkeys(range(len(first)), 1)

    def join(parts: Sequence[int]) -> int:
        """The cluster of some, halved and halved again: a tree whose depth is least."""
        if len(parts) == 1:
            return parts[0]
        left, right = join(parts[: len(parts) // 2]), join(parts[len(parts) // 2 :])
        both = len(first) + len(joined)
        size[both] = size[left] + size[right]
        joined.append([left, right, both, size[both]])
        return both

    def within(players: Sequence[int], label: Callable[[int], int]) -> list[list[int]]:
        return [list(some) for _, some in groupby(sorted(players, key=label), key=label)]

    groups = within(range(len(first)), group.__getitem__)
    events = [[join(some) for some in within(mine, whole.__getitem__)] for mine in groups]
    join([join(some) for some in events])
    return np.array(joined, dtype=float)


def needed(tree: np.ndarray) -> int:
    """The evaluations that all Owen values of a hierarchy take, those of all and none aside."""
    players = len(tree) + 1
    below = [0] * players
    for left, right, *_ in tree:
        below.append(2 + 2 * below[int(left)] + 2 * below[int(right)])
    return below[-1]


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer clustered SHAP."""
    return {"partition_shap": PartitionShap}
