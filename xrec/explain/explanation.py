"""What each feature contributed to a recommendation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import torch
from torch import Tensor

from xrec.data.features import GROUPS, FeatureIndex
from xrec.explain.cost import Cost
from xrec.explain.removal import Removal
from xrec.models.inputs import Inputs


@dataclass(frozen=True)
class Explanation:
    """Contributions to B recommendations.

    values (B, F) float: what each slot contributed to the target, in its units (logits); 0 for
        slots that are absent or fixed.
    present (B, F) bool: the slots that were attributed.
    features: what each slot is.
    score (B,), base (B,): the target with all features, and with none as this explainer sees none.
    error (B,): the explainer's own estimate of its error, in logits: the completeness gap
        |sum of values - (score - base)|, or a standard error; NaN where it has none.
    cost: what it took. explainer, target: their names.
    deviation (B, F), optional: the standard error of each value, by the explainer's own estimate.
    steps (B,) int64, optional: the evaluations that each row took, where that differs by row.
    removal, optional: what was found, where the explainer sought features to take away; the values
        are then the shares of these in what the target loses without them.
    gradients: "straight-through", where it went by gradients that are not the model's own but of
        the same weights in float32; else empty.
    """

    values: Tensor
    present: Tensor
    features: FeatureIndex
    score: Tensor
    base: Tensor
    error: Tensor
    cost: Cost
    explainer: str
    target: str = "logit"
    deviation: Tensor | None = None
    steps: Tensor | None = None
    removal: Removal | None = None
    gradients: str = ""

    @classmethod
    def of(
        cls,
        inputs: Inputs,
        values: Tensor,
        score: Tensor,
        base: Tensor,
        cost: Cost,
        explainer: str,
        error: Tensor | None = None,
        deviation: Tensor | None = None,
        steps: Tensor | None = None,
        removal: Removal | None = None,
    ) -> Explanation:
        """An explanation of `inputs`; its error is the completeness gap unless one is given."""
        players = inputs.players
        values = torch.where(players, values, 0).detach()
        score, base = score.detach(), base.detach()
        gap = (values.sum(1) - (score - base)).abs()
        error = gap if error is None else error
        if deviation is not None:
            deviation = torch.where(players, deviation, 0).detach()
        told = (values, players, inputs.features, score, base, error, cost, explainer)
        return cls(*told, deviation=deviation, steps=steps, removal=removal)

    def __len__(self) -> int:
        return len(self.values)

    def by_group(self) -> dict[str, Tensor]:
        """The sum (B,) of each group's contributions, for the groups that occur."""
        return {
            name: torch.where(self.features.group == at, self.values, 0).sum(1)
            for at, name in enumerate(GROUPS)
            if bool(((self.features.group == at) & self.present).any())
        }

    def summed(self) -> Explanation:
        """The same explanation with parts added up to what they are part of: words to events.

        Standard errors do not add up, so that the sums have none.
        """
        present = self.features.gathered(self.present.long()) > 0
        values = self.features.gathered(self.values)
        removal = None if self.removal is None else self.removal.summed(self.features)
        return replace(self, values=values, present=present, deviation=None, removal=removal)

    def parts(self, row: int, slot: int) -> list[int]:
        """The slots of a row that are part of a slot and were attributed, largest first by size."""
        mine = (self.features.parent[row] == slot) & self.present[row]
        return sorted(
            mine.nonzero()[:, 0].tolist(), key=lambda at: -abs(float(self.values[row, at]))
        )

    def top(self, k: int) -> Tensor:
        """(B, k) int64: the slots of the largest contributions by size, largest first.

        Rows with fewer than k features end in -1. Ties go to the lower slot.
        """
        size = torch.where(self.present, self.values.abs(), -1.0)
        size, order = size.sort(dim=1, descending=True, stable=True)
        found = torch.where(size < 0, -1, order)[:, :k]
        return torch.nn.functional.pad(found, (0, k - found.shape[1]), value=-1)

    def normalised(self) -> Explanation:
        """The same explanation with each row's sizes summing to 1; a row of zeros stays zero.

        Score, base and errors are divided by the same number.
        """
        size = self.values.abs().sum(1)
        size = torch.where(size > 0, size, 1.0)
        return replace(
            self,
            values=self.values / size[:, None],
            score=self.score / size,
            base=self.base / size,
            error=self.error / size,
            deviation=None if self.deviation is None else self.deviation / size[:, None],
        )

    def rows(self, index: Tensor | slice) -> Explanation:
        """Some of the rows, in the order of `index`; the cost stays that of the whole batch."""
        values, present, score, base, error = (
            t[index] for t in (self.values, self.present, self.score, self.base, self.error)
        )
        return replace(
            self,
            values=values,
            present=present,
            features=self.features.rows(index),
            score=score,
            base=base,
            error=error,
            deviation=None if self.deviation is None else self.deviation[index],
            steps=None if self.steps is None else self.steps[index],
            removal=None if self.removal is None else self.removal.rows(index),
        )

    @classmethod
    def joined(cls, parts: Sequence[Explanation]) -> Explanation:
        """The rows of several explanations by one explainer of inputs of as many slots."""

        def together(name: str) -> Tensor:
            return torch.cat([getattr(part, name) for part in parts])

        first, costs = parts[0], [part.cost for part in parts]
        cost = Cost(
            sum(each.forward for each in costs),
            sum(each.backward for each in costs),
            sum(each.seconds for each in costs),
            max(each.peak_bytes for each in costs),
        )
        values, present, score, base, error = map(
            together, ("values", "present", "score", "base", "error")
        )
        return replace(
            first,
            values=values,
            present=present,
            features=FeatureIndex.joined([part.features for part in parts]),
            score=score,
            base=base,
            error=error,
            cost=cost,
            deviation=None if first.deviation is None else together("deviation"),
            steps=None if first.steps is None else together("steps"),
            removal=None
            if first.removal is None
            else Removal.joined([part.removal for part in parts if part.removal is not None]),
        )

    def to_arrow(self) -> pa.Table:
        """One row a contribution: row, slot, group, feature, value and its standard error.

        Absent slots are left out; the standard error is null where the explainer gives none.
        """
        at = self.present.nonzero().cpu().tolist()
        groups = self.features.group.cpu()
        values = self.values.cpu()
        deviation = None if self.deviation is None else self.deviation.cpu()
        return pa.table(
            {
                "row": pa.array([row for row, _ in at], pa.int64()),
                "slot": pa.array([slot for _, slot in at], pa.int64()),
                "group": pa.array([GROUPS[int(groups[r, s])] for r, s in at], pa.string()),
                "feature": pa.array([self.features.name(r, s) for r, s in at], pa.string()),
                "value": pa.array([float(values[r, s]) for r, s in at], pa.float64()),
                "standard_error": pa.array(
                    [None if deviation is None else float(deviation[r, s]) for r, s in at],
                    pa.float64(),
                ),
            }
        )
