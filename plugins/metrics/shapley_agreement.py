"""Agreement with Shapley values, exact where that can be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from xrec import hookimpl
from xrec.explain.enumeration import enumerated
from xrec.explain.probe import probe
from xrec.explain.sampling import Sampling, sampled
from xrec.explain.target import Target
from xrec.fidelity.correlation import settled, spearman
from xrec.fidelity.metric import Case
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

EXACT = 12  # players up to which a row is enumerated
PER_PLAYER = 40  # evaluations of a row that is not, at most
SEED = 7919  # of its coalitions: other than those that an explainer is likely to have drawn
NEAR = 0.02  # relative error at which such a row is done
# Faults of more than the scale.
WRONG = ("shuffled", "constant", "flipped", "leaking", "stale", "jittery", "deaf")


@dataclass(frozen=True)
class Reference:
    """Shapley values (B, F) in float64, and what they are of."""

    values: Tensor
    inputs: Inputs
    model: Recommender
    target: Target
    absent: str
    weights: tuple[int, ...]  # how often each of the model's was changed

    @classmethod
    def of(cls, case: Case) -> Reference:
        """Find the Shapley values of a case."""
        model, inputs = case.model, case.inputs
        count = inputs.players.sum(1)
        exact = torch.zeros(inputs.present.shape, dtype=torch.double, device=inputs.values.device)
        few, many = ((count <= EXACT).nonzero()[:, 0], (count > EXACT).nonzero()[:, 0])
        with probe(model):
            if len(few):
                exact[few] = enumerated(model, inputs.rows(few), case.target, case.absent)[0]
            if len(many):
                how = Sampling(PER_PLAYER * int(count.max()), NEAR, case.absent, SEED)
                exact[many] = sampled(model, inputs.rows(many), case.target, how).values
        return cls(exact, inputs, model, case.target, case.absent, _changes(model))

    def serves(self, case: Case) -> bool:
        """Whether a case has the same Shapley values."""
        mine, other = self.inputs, case.inputs
        same = self.model is case.model and self.target == case.target
        same = same and self.absent == case.absent and self.weights == _changes(case.model)
        pairs = [(mine.values, other.values), (mine.present, other.present)]
        pairs += [(mine.features.key, other.features.key)]
        if mine.rivals is not None and other.rivals is not None:
            pairs += [(mine.rivals, other.rivals)]
        elif mine.rivals is not other.rivals:
            return False
        return same and all(torch.equal(one, two) for one, two in pairs)


def _changes(model: Recommender) -> tuple[int, ...]:
    return tuple(parameter._version for parameter in model.parameters())


@dataclass
class ShapleyAgreement:
    """How near an explanation comes to Shapley values, of the game that the protocol plays.

    shapley_rank: Spearman's correlation with them over a row's players; NaN with fewer than two, or
    where all of them, or of the explanation's, are the same.
    shapley_error: the length of the difference over the length of the Shapley values; NaN where
    that is 0.

    Rows of up to 12 players are enumerated. Others are estimated as fast_shapley does, of other
    coalitions, to a relative error of 0.02 by its own estimate, with 40 evaluations a player at
    most: a difference smaller than that tells nothing.

    Pitfall: an explanation of something else than the score, such as one that needs not add up, may
    rank well and have a large error.

    The last reference is kept, so that all explainers of a run are held against the same one.
    """

    plays: ClassVar[bool] = False  # it holds against the game of the protocol's operator alone
    measures: ClassVar[Mapping[str, str]] = {"shapley_rank": "higher", "shapley_error": "lower"}
    sees: ClassVar[Mapping[str, Collection[str]]] = {
        "shapley_rank": ("shuffled", "flipped", "stale", "jittery", "deaf"),
        "shapley_error": (*WRONG, "scaled"),
    }

    kept: Reference | None = field(init=False, default=None, repr=False)

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) correlations and errors; none where absent features are those of other rows."""
        if case.absent == "resample":
            return {}
        if self.kept is None or not self.kept.serves(case):
            self.kept = Reference.of(case)
        exact, told = self.kept.values, case.explanation.values.double()
        size = exact.norm(dim=1)
        error = torch.where(size > 0, (told - exact).norm(dim=1) / size, torch.nan)
        rank = spearman(settled(told), settled(exact), case.inputs.players)
        return {"shapley_rank": rank, "shapley_error": error}


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer agreement with Shapley values."""
    return {"shapley_agreement": ShapleyAgreement}
