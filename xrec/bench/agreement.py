"""Whether two models, or a model before and after, are explained alike."""

from __future__ import annotations

import torch
from torch import Tensor

from xrec.explain.explanation import Explanation
from xrec.fidelity.correlation import likeness, overlap

TOP = 5


def agreement(told: Explanation, reference: Explanation, k: int = TOP) -> dict[str, Tensor]:
    """(B,) how far two explanations of the same B recommendations agree, with words in events.

    agreement_rank: Spearman's correlation of the contributions; 0 where one of the two has become
    the same for all features. agreement_top: the share of the k largest by size that both have, or
    of all where there are fewer.

    NaN for a row that has not the same features in both, or too few: what one model reads and the
    other does not, cannot be compared. Pitfall: an explainer that does not look at the model, such
    as a floor, agrees with itself whatever became of the model.
    """
    mine, other = told.summed(), reference.summed()
    if mine.values.shape != other.values.shape:
        nothing = torch.full((len(told),), torch.nan, dtype=torch.double)
        return {"agreement_rank": nothing, "agreement_top": nothing}
    there = mine.present & other.present & _same(mine, other)
    alike = ((mine.present | other.present) == there).all(1)
    found = {
        "agreement_rank": likeness(mine.values, other.values, there),
        "agreement_top": overlap(mine.values, other.values, there, k),
    }
    return {name: torch.where(alike, each, torch.nan) for name, each in found.items()}


def _same(mine: Explanation, other: Explanation) -> Tensor:
    """(B, F) bool: whether a slot is the same feature in both."""
    one, two = mine.features, other.features
    return (one.group == two.group) & (one.key == two.key)
