"""What becomes of an item's place when some features are taken away: a counterfactual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xrec.data.features import FeatureIndex


@dataclass(frozen=True)
class Removal:
    """For B items, the features without which an item among the first k is not, or the reverse.

    k: how many are the first. members (B, F) bool: the features that are taken away, none where no
        such set was found.
    inside (B,) bool: whether the item is among the first k while all features are there.
    proven (B,) bool: of a set, that no smaller one would do; of none, that there is none.
    evaluations (B,) int64: the sets that were asked about.
    """

    k: int
    members: Tensor
    inside: Tensor
    proven: Tensor
    evaluations: Tensor

    @property
    def found(self) -> Tensor:
        """(B,) bool: whether there is a set."""
        return self.members.any(1)

    @property
    def size(self) -> Tensor:
        """(B,) int64: the members of each set."""
        return self.members.sum(1)

    def summed(self, features: FeatureIndex) -> Removal:
        """The same with parts as what they are part of: words as events."""
        return replace(self, members=features.gathered(self.members.long()) > 0)

    def rows(self, index: Tensor | slice) -> Removal:
        """Some of the rows, in the order of `index`."""
        each = (self.members, self.inside, self.proven, self.evaluations)
        return Removal(self.k, *(tensor[index] for tensor in each))

    @classmethod
    def joined(cls, parts: Sequence[Removal]) -> Removal:
        """The rows of several, of one k and as many slots."""
        names = ("members", "inside", "proven", "evaluations")
        each = [torch.cat([getattr(part, name) for part in parts]) for name in names]
        return cls(parts[0].k, *each)

    @property
    def error(self) -> Tensor:
        """(B,) 0 where the answer is proven, NaN where it is not."""
        return torch.where(self.proven, 0.0, torch.nan)
