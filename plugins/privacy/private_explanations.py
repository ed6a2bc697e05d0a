"""Explanations that are safe to show: single ones coarsened, all together released with noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import torch
from torch import Tensor

from xrec import hookimpl
from xrec.data.features import GROUPS, ITEM, PROFILE, FeatureIndex
from xrec.errors import XrecError
from xrec.explain.explanation import Explanation
from xrec.recipe import Recipe
from xrec.runs import explanations
from xrec.runs.run import Run
from xrec_plugins.privacy.gaussian import noise_for, noised

IMPORTANCE = "importance.json"


@dataclass(frozen=True)
class PrivateExplanations:
    """Options.

    k: the features of a user that an explanation tells by name; of the others, each group's sum.
    step: what contributions are rounded to, in logits.
    epsilon, delta: of the release of what matters overall, for each user in it (add or remove one).
    """

    k: int = 3
    step: float = 0.1
    epsilon: float = 1.0
    delta: float = 1e-5

    def __post_init__(self) -> None:
        if self.k < 0:
            raise ValueError(f"k is {self.k}, it must be at least 0")
        if not self.step > 0:
            raise ValueError(f"step is {self.step}, it must be above 0")
        if not 0 < self.epsilon < float("inf"):
            raise ValueError(f"epsilon is {self.epsilon}, it must be above 0 and finite")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta is {self.delta}, it must be between 0 and 1")

    @hookimpl
    def xrec_explanation(self, explanation: Explanation, recipe: Recipe) -> Explanation:
        """Coarsen an explanation before it is kept."""
        return coarsened(explanation, self.k, self.step)

    @hookimpl
    def xrec_explained(self, run: Run) -> None:
        """Release what matters overall, by all explainers, with noise: `importance.json`, once.

        What one user adds to it is the shares of each kind of feature, which sum to 1, for each
        explainer: its length is at most the square root of their number.

        Raises XrecError: delta is too large for so many users.
        """
        labels, users = list(run.explainers()), len(run.subject)
        if self.delta >= 1 / users:
            raise XrecError(
                f"privacy: private_explanations: delta {self.delta:g} must be below 1 over the "
                f"{users} users who are explained to"
            )
        kinds, sums = [], []
        for label in labels:
            told = explanations.read(run.store, label, run.subject.inputs)
            for kind, share in importance(told).items():
                kinds.append((label, kind))
                sums.append(float(share.sum()))
        sigma = sqrt(max(1, len(labels))) * noise_for(self.epsilon, self.delta)
        released = zip(kinds, noised(sums, sigma), strict=True)
        run.store.write_json(
            IMPORTANCE,
            {
                "epsilon": self.epsilon,
                "delta": self.delta,
                "sigma": sigma,
                "users": users,
                "rows": [
                    {"explainer": label, "kind": kind, "share": value / users}
                    for (label, kind), value in released
                ],
            },
        )


def coarsened(told: Explanation, k: int, step: float) -> Explanation:
    """An explanation that names the item's features and the user's k largest, in rounded numbers.

    Every other feature of the user has an even part of its group's sum, and no name. Words have an
    even part of their event. What a search found to take away, and errors by feature, are gone.
    """
    whole = told.summed()
    own = told.features.group == ITEM
    top = replace(whole, present=whole.present & ~own).top(k)
    named = torch.zeros_like(whole.present)
    rows = torch.arange(len(told))[:, None].expand_as(top)
    named[rows[top >= 0], top[top >= 0]] = True
    named |= own
    values = torch.where(named, _rounded(whole.values, step), 0)
    for group in range(len(GROUPS)):
        rest = whole.present & ~named & (told.features.group == group)
        total = _rounded(torch.where(rest, whole.values, 0).sum(1), step)
        values = torch.where(rest, (total / rest.sum(1).clamp(min=1))[:, None], values)
    hidden = told.present & ~named.gather(1, told.features.whole)
    return replace(
        told,
        values=told.features.parted(values, told.present),
        features=told.features.hidden(hidden),
        score=_rounded(told.score, step),
        base=_rounded(told.base, step),
        error=(told.error / step).ceil() * step,
        deviation=None,
        steps=None,
        removal=None,
    )


def _rounded(values: Tensor, step: float) -> Tensor:
    return (values / step).round() * step


def importance(told: Explanation) -> dict[str, Tensor]:
    """(B,) by kind of feature, the share of a row's contributions that is of it, by size.

    Kinds are groups, and of the profile its attributes. Shares of a row sum to 1, or are all 0.
    """
    told = told.summed()
    size = torch.where(told.present, told.values.abs(), 0).double()
    share = size / size.sum(1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny)
    found = {}
    for kind, where in _kinds(told.features).items():
        found[kind] = torch.where(where, share, 0).sum(1)
    return found


def _kinds(features: FeatureIndex) -> dict[str, Tensor]:
    """(B, F) which slots are of a kind: the kinds follow from the catalogue, not from the rows."""
    found = {}
    for group, known in features.names.items():
        here = features.group == group
        if group == PROFILE:
            fields = [name.partition(": ")[0] for name in known]
            for field in dict.fromkeys(each for each in fields if each):
                keys = torch.tensor([each == field for each in fields])
                found[field] = here & keys[torch.where(here, features.key, 0)]
        elif group:
            found[GROUPS[group]] = here
    return found


@hookimpl
def xrec_mechanisms() -> dict[str, type]:
    """Offer private explanations."""
    return {"private_explanations": PrivateExplanations}
