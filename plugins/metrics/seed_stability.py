"""Seed stability: whether an explainer says the same when it draws anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.fidelity.correlation import likeness, overlap
from xrec.fidelity.metric import Case
from xrec.fidelity.retelling import Retelling

TOP = 5  # features, as many as a person reads


@dataclass(frozen=True)
class SeedStability:
    """How much explanations of the same by different seeds agree, on average over their pairs.

    stability_rank: Spearman's correlation of the contributions; a pair of constants agrees, 1, and
    a constant with an order does not, 0. NaN for a row of fewer than two features.
    stability_top: the share of the 5 largest contributions by size that both have. NaN for a row
    without features.

    An explainer without a seed is not asked again: it agrees with itself. What was learned stays as
    it was learned: only what is drawn to explain is drawn anew.

    Options: draws, how many other seeds are tried; rows, how many of the first rows; the others are
    NaN.

    Pitfalls: to be stable is not to be right: a rule that looks at nothing is perfectly stable.
    Where a row has 5 features or fewer the top is the same whatever is said. One that draws and has
    no `seed` to change is taken for one that does not.
    """

    measures: ClassVar[Mapping[str, str]] = {"stability_rank": "higher", "stability_top": "higher"}
    plays: ClassVar[bool] = False
    retells: ClassVar[bool] = True
    sees: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(measures, ("jittery",))

    draws: int = 3
    rows: int = 50

    def __post_init__(self) -> None:
        for name in ("draws", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) each; nothing where the explainer cannot be asked again."""
        if case.retelling is None:
            return {}
        players = case.inputs.players[: self.rows]
        told = [each.values[: self.rows] for each in self._retold(case, case.retelling)]

        def mean(agreement: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            found = torch.stack([agreement(*pair) for pair in combinations(told, 2)]).mean(0)
            return pad(found, (0, len(case.inputs) - len(found)), value=torch.nan)

        return {
            "stability_rank": mean(lambda one, other: likeness(one, other, players)),
            "stability_top": mean(lambda one, other: overlap(one, other, players, TOP)),
        }

    def _retold(self, case: Case, retelling: Retelling) -> list[Explanation]:
        """The explanation, and what the explainer says of the first rows by each other seed."""
        if not retelling.draws:
            return [case.explanation] * 2
        few = case.inputs.rows(slice(self.rows))
        own: int = getattr(retelling.explainer, "seed", 0)
        others = [retelling.seeded(own + at + 1) for at in range(self.draws)]
        return [case.explanation, *(each.of(case.model, few, case.target) for each in others)]


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer seed stability."""
    return {"seed_stability": SeedStability}
