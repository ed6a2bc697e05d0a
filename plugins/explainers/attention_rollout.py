"""Attention rollout: a heuristic, for models that attend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.readings import check_attends
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class AttentionRollout:
    """How much of each feature reaches the fixed slots (Abnar and Zuidema, 2020).

    Each layer's attention, averaged over heads, is mixed half and half with the identity that the
    residual path is, and the layers are multiplied. A contribution is what the row's fixed slots
    see of the slot. A heuristic: it does not look at the values, the head or the candidate, it has
    no sign, and it does not sum to the score.
    """

    standing: ClassVar[str] = "heuristic"
    excused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("linear", "completeness", "symmetry", "dummy"),
        "it says where a model that attends looks, not what comes of it",
    )

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """One forward evaluation. Raises XrecError for a model that does not attend."""
        check_attends("attention_rollout", model)
        with probe(model) as cost, torch.no_grad():
            game = Game(model, inputs, target)
            score, base = game.everything(), game.nothing()
            eye = torch.eye(inputs.values.shape[1], device=inputs.values.device)
            reach = eye
            for attention in model.attend(inputs):
                reach = (attention.mean(1) + eye) / 2 @ reach
            fixed = inputs.features.fixed & inputs.present
            values = (reach * fixed[..., None]).sum(1) / fixed.sum(1, keepdim=True).clamp(min=1)
        return Explanation.of(inputs, values, score, base, cost, "attention_rollout")


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer attention rollout."""
    return {"attention_rollout": AttentionRollout}
