"""What a recommendation is made of: a set of named feature vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xrec.data.features import FeatureIndex


@dataclass(frozen=True)
class Inputs:
    """The feature vectors of B recommendations, in F slots of width D.

    values (B, F, D) float: one vector a slot.
    present (B, F) bool: whether the slot counts; padding never does. A slot that is absent changes
        the score by nothing, whatever its values.
    features: what each slot is.
    """

    values: Tensor
    present: Tensor
    features: FeatureIndex

    def __len__(self) -> int:
        return len(self.values)

    @property
    def players(self) -> Tensor:
        """(B, F) bool: the slots that may be attributed: present, and not fixed."""
        return self.present & ~self.features.fixed

    def rows(self, index: Tensor | slice) -> Inputs:
        """Some of the rows, in the order of `index`; a row may come more than once."""
        return Inputs(self.values[index], self.present[index], self.features.rows(index))

    def to(self, device: torch.device | str) -> Inputs:
        """The same inputs on another device."""
        return Inputs(self.values.to(device), self.present.to(device), self.features.to(device))

    def with_values(self, values: Tensor) -> Inputs:
        """The same slots with other vectors (B, F, D)."""
        return replace(self, values=values)

    def with_present(self, present: Tensor) -> Inputs:
        """The same vectors, present (B, F) or not."""
        return replace(self, present=present)
