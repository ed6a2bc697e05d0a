"""What a recommendation is made of: a set of named feature vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from xrec.data.features import FeatureIndex


@dataclass(frozen=True)
class Inputs:
    """The feature vectors of B recommendations, in F slots of width D.

    values (B, F, D) float: one vector a slot.
    present (B, F) bool: whether the slot counts; padding never does. A slot that is absent changes
        the score by nothing, whatever its values.
    features: what each slot is.
    rivals (B, R) int64, optional: items that each user might be shown instead, the likeliest first,
        0 where there are fewer.
    source (B,) int64, optional: rows of one source have the same vectors and differ in what is
        present alone, so that a model may read once what is the same in several of them.
    item (B,) int64, optional: the item that is scored, for what compares it with others.
    """

    values: Tensor
    present: Tensor
    features: FeatureIndex
    rivals: Tensor | None = None
    source: Tensor | None = None
    item: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def players(self) -> Tensor:
        """(B, F) bool: the slots that may be attributed: present, and not fixed."""
        return self.present & ~self.features.fixed

    def rows(self, index: Tensor | slice) -> Inputs:
        """Some of the rows, in the order of `index`; a row may come more than once."""
        picked = (self.values[index], self.present[index], self.features.rows(index))
        return Inputs(*picked, *(None if t is None else t[index] for t in self._of_rows))

    def to(self, device: torch.device | str) -> Inputs:
        """The same inputs on another device."""
        moved = (self.values.to(device), self.present.to(device), self.features.to(device))
        return Inputs(*moved, *(None if t is None else t.to(device) for t in self._of_rows))

    @property
    def _of_rows(self) -> tuple[Tensor | None, ...]:
        """What is known of rows, whatever their slots."""
        return self.rivals, self.source, self.item

    def against(self, rivals: Tensor) -> Inputs:
        """The same inputs with the items (B, R) that they compete with."""
        return replace(self, rivals=rivals)

    def with_values(self, values: Tensor) -> Inputs:
        """The same slots with other vectors (B, F, D), of which no source is known."""
        return replace(self, values=values, source=None)

    def with_present(self, present: Tensor) -> Inputs:
        """The same vectors, present (B, F) or not."""
        return replace(self, present=present)

    def from_source(self, source: Tensor | None) -> Inputs:
        """The same inputs, of which the sources (B,) are known, or none."""
        return replace(self, source=source)

    def wide(self, slots: int) -> Inputs:
        """The same inputs with absent slots added at the end, `slots` in all."""
        more = slots - self.values.shape[1]
        if not more:
            return self
        values = functional.pad(self.values, (0, 0, 0, more))
        present, features = functional.pad(self.present, (0, more)), self.features.wide(slots)
        return Inputs(values, present, features, *self._of_rows)

    @classmethod
    def joined(cls, parts: Sequence[Inputs]) -> Inputs:
        """The rows of several inputs of one model, one after the other, without rivals or items."""
        slots = max(part.values.shape[1] for part in parts)
        parts = [part.wide(slots) for part in parts]
        return cls(
            torch.cat([part.values for part in parts]),
            torch.cat([part.present for part in parts]),
            FeatureIndex.joined([part.features for part in parts]),
        )
