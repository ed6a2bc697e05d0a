"""Shapley values from few coalitions, for many rows at once, with their standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.game import check_absent
from xrec.explain.probe import probe
from xrec.explain.sampling import Sampling, sampled
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class FastShapley:
    """Shapley values by kriging from pairs of coalitions drawn by leverage.

    Options: evaluations, the most of a row; error, the relative error of a row's values at which it
    is done, 0 to use all evaluations; absent, what becomes of a player outside the coalition; seed.

    Coalitions come with their complements, so that pairs of players cost nothing; those of a row
    are all different, drawn by leverage score (Musco and Witter, 2025) and then those that tell the
    most (`xrec.explain.coalitions`). Values are the mean of what they can be by a prior over games
    (`xrec.explain.kriging`), and their deviations what is left uncertain. The error is the length
    of the deviations, the distance that the values are expected to have from the exact ones. Where
    a row has few coalitions it is asked of all, and exact.
    """

    budget: ClassVar[str] = "evaluations"

    excused: ClassVar[dict[str, str]] = {
        "symmetry": "its coalitions are drawn: twins get the same only within its error",
        "dummy": "its coalitions are drawn: a dummy gets nothing only within its error",
    }

    evaluations: int = 512
    error: float = 0.05
    absent: str = "remove"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.evaluations < 8:
            raise ValueError(f"evaluations is {self.evaluations}, it must be at least 8")
        if not 0 <= self.error < 1:
            raise ValueError(f"error is {self.error}, it must be from 0 to below 1")
        check_absent(self.absent)

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain all rows at once; each is done when it is known well enough.

        Raises XrecError where a row has so many players that the evaluations are too few.
        """
        how = Sampling(self.evaluations, self.error, self.absent, self.seed)
        with probe(model) as cost:
            found = sampled(model, inputs, target, how)
        values, score, base, deviation = (
            each.to(inputs.values)
            for each in (found.values, found.score, found.base, found.deviation)
        )
        error = deviation.norm(dim=1)
        kept = (inputs, values, score, base, cost, "fast_shapley", error, deviation)
        return Explanation.of(*kept)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer fast Shapley values."""
    return {"fast_shapley": FastShapley}
