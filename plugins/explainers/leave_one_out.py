"""Leave-one-out: what the score loses when a feature alone is taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game, check_absent
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class LeaveOneOut:
    """A floor: v(all) - v(all but the feature), one evaluation a feature, blind to redundancy.

    Options: absent, what becomes of the feature.
    """

    standing: ClassVar[str] = "floor"
    excused: ClassVar[dict[str, str]] = {
        "completeness": "what features do together is lost with each of them, or with none"
    }

    absent: str = "remove"

    def __post_init__(self) -> None:
        check_absent(self.absent)

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain B rows with as many evaluations as they have features, and two each."""
        with probe(model) as cost:
            game = Game(model, inputs, target, self.absent)
            slots = inputs.values.shape[1]
            whole = torch.ones(slots + 2, slots, dtype=torch.bool, device=inputs.values.device)
            whole[:slots].fill_diagonal_(False)
            whole[slots + 1] = False
            found = game.value(whole.expand(len(inputs), -1, -1))  # all but one, all, none
            score, base = found[:, slots], found[:, slots + 1]
            values = score[:, None] - found[:, :slots]
        return Explanation.of(inputs, values, score, base, cost, "leave_one_out")


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer leave-one-out."""
    return {"leave_one_out": LeaveOneOut}
