"""KernelSHAP, by the shap library."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import shap
import torch
from torch import Tensor

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

logging.getLogger("shap").setLevel(logging.WARNING)  # it narrates every row at INFO


@dataclass(frozen=True)
class KernelShap:
    """Shapley values by weighted regression on sampled coalitions (Lundberg and Lee, 2017).

    Options: evaluations, the coalitions sampled a row (all of them where there are no more);
    absent, what becomes of a feature outside the coalition; seed.

    shap draws coalitions of a row of ones against a background of zeros, so that what it thinks is
    the data is the mask, and the mask is played on xrec's `Game`. The regression is not
    regularised: the values sum to score - base whatever the number of evaluations. So the
    completeness gap tells nothing of the sampling error, and the error is NaN, not known, unless
    all coalitions of a row were evaluated.
    """

    evaluations: int = 512
    absent: str = "remove"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.evaluations < 2:
            raise ValueError(f"evaluations is {self.evaluations}, it must be at least 2")
        if self.absent not in ("remove", "baseline"):
            raise ValueError(f"absent is '{self.absent}', not remove or baseline")

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row, as shap does."""
        with probe(model) as cost:
            game = Game(model, inputs, target, self.absent)
            score, base = game.everything(), game.nothing()
            values = torch.zeros_like(inputs.values[..., 0])
            for row in range(len(inputs)):
                values[row] = self._row(game, row)
        gap = (values.sum(1) - (score - base)).abs()
        sampled = inputs.players.sum(1) > math.log2(self.evaluations + 2)
        error = torch.where(sampled, torch.nan, gap)
        return Explanation.of(inputs, values, score, base, cost, "kernel_shap", error)

    def _row(self, game: Game, row: int) -> Tensor:
        """(F,) Shapley values of one row's players."""
        players = game.inputs.players[row].nonzero()[:, 0]
        values = torch.zeros_like(game.inputs.values[row, :, 0])
        if not len(players):
            return values
        only = game.alone(row)

        def value(masks: np.ndarray) -> np.ndarray:
            inside = torch.zeros(1, len(masks), len(values), dtype=torch.bool)
            inside[0, :, players.cpu()] = torch.from_numpy(masks > 0.5)
            return only.value(inside)[0].double().cpu().numpy()

        state = np.random.get_state()  # shap draws from numpy's global generator
        try:
            np.random.seed(self.seed)
            explainer = shap.KernelExplainer(value, np.zeros((1, len(players))))
            found = explainer.shap_values(
                np.ones((1, len(players))), nsamples=self.evaluations, l1_reg=0, silent=True
            )
        finally:
            np.random.set_state(state)
        values[players] = torch.from_numpy(np.asarray(found)[0]).to(values)
        return values


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer KernelSHAP."""
    return {"kernel_shap": KernelShap}
