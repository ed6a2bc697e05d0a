"""Counterfactual ranks: where the item comes in the whole catalogue as the user's features go.

After Barkan et al. (2024), "A Counterfactual Framework for Learning and Evaluating Explanations for
Recommender Systems".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from xrec import hookimpl
from xrec.fidelity.curve import removal_curve
from xrec.fidelity.metric import Case

WAYS = {"pos": "lower", "neg": "higher"}
#: Faults of the order of features; not those that leave it as it is, or that make it for a curve.
ORDER = ("shuffled", "flipped", "constant", "stale", "deaf", "jittery")


@dataclass(frozen=True)
class CounterfactualRanks:
    """The item's place among all others along two curves that take the user's features away.

    pos@k: the share of steps at which the item is still among the first k, while the features that
    speak most for it go first.
    neg@k: the share of steps at which the item is still among the first k, while the features that
    speak most against it, or least for it, go first.
    cdcg: the mean over steps of 1 / log2(1 + place), while the features that speak most for the
    item go first: the gain of a list that should have the item no more.

    There are `points` steps and the start, as the authors count; the start and the end, with all
    and with none of the features, are the same for all explainers. The item's own features stay:
    without them nothing is recommended. Features go by their sign, ties from the lower slot.

    A row is NaN if it has none of the user's features; pos@k and neg@k also if the item is not
    among the first k to begin with, or has fewer than k rivals, so that it could not leave them.

    Options: k, the lengths of list.

    Pitfalls: a place knows no half measures: where nothing but the last feature moves the item out
    of the first k, all explainers are the same. Items that are recommended to everybody stay
    whatever is taken away. What explains the score need not explain the place: what speaks for all
    items alike moves none. Ties go by the slot, oldest first, near to what matters least: neg@k
    favours an explanation that says the same of all. Taken-away features leave inputs unlike any in
    training.
    """

    plays: ClassVar[bool] = True
    retells: ClassVar[bool] = False

    k: list[int] = field(default_factory=lambda: [5, 10, 20])

    def __post_init__(self) -> None:
        for k in self.k:
            if k < 1:
                raise ValueError(f"k has {k}, each must be at least 1")
        if len(set(self.k)) < len(self.k) or not self.k:
            raise ValueError(f"k is {self.k}, it must name at least one length, and none twice")

    @property
    def measures(self) -> dict[str, str]:
        """pos@k and neg@k for each k, and cdcg."""
        pos, neg = ({f"{kind}@{k}": way for k in self.k} for kind, way in WAYS.items())
        return {**pos, **neg, "cdcg": "lower"}

    @property
    def sees(self) -> Mapping[str, tuple[str, ...]]:
        """The same for all, but that neg@k need not see a constant."""
        least = tuple(fault for fault in ORDER if fault != "constant")
        return {m: least if m.startswith("neg") else ORDER for m in self.measures}

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) each; nothing where no items are known to rank the item among."""
        game, mine = case.ranks(), case.of_user
        rivals = game.inputs.rivals
        if rivals is None or not rivals.shape[1]:
            return {}
        values, points = case.explanation.values, case.points
        pos = removal_curve(game, values, mine, points, insert=False)
        neg = removal_curve(game, -values, mine, points, insert=False)
        found = {}
        for name, places in (("pos", pos), ("neg", neg)):
            for k in self.k:
                judged = mine.any(1) & (places[:, 0] <= k) & ((rivals > 0).sum(1) >= k)
                share = (places <= k).double().mean(1)
                found[f"{name}@{k}"] = torch.where(judged, share, torch.nan)
        gain = 1 / (1 + pos.double()).log2()
        return {**found, "cdcg": torch.where(mine.any(1), gain.mean(1), torch.nan)}


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer counterfactual ranks."""
    return {"counterfactual_ranks": CounterfactualRanks}
