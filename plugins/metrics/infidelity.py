"""Infidelity: how far the contributions of removed features are from what their removal did."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xrec import hookimpl
from xrec.fidelity.metric import Case
from xrec.fidelity.moving import check_of, counted, judgeable, moving

APART = 104_729  # added to the seed, so that no explainer has met the draws that judge it
# Faults of more than the scale.
WRONG = ("shuffled", "constant", "flipped", "leaking", "stale", "jittery", "deaf")


@dataclass(frozen=True)
class Infidelity:
    """The squared error of contributions as a forecast of what removals do (Yeh et al., 2019).

    Sets of features are drawn at random, the same for every explainer; what their contributions
    add up to is held against the fall of the target when they are removed together.

    infidelity: the mean of the squared differences, in squared logits.
    infidelity_scaled: the same after the scale, not below zero, that suits the explanation best in
    each row, over the mean squared fall: from 0, it forecasts all, to 1, it forecasts no better
    than zeros. For explanations that claim no unit.

    captum's `normalize` also takes the best scale, but lets it be negative, so that an explanation
    with its sign turned is as good as the right one, and divides by nothing.

    Options: draws, sets a row; share, of the features, that are removed at most, every number up to
    it coming equally often; of, whose features are removed: all, or the user's, while the item's
    own stay.

    Pitfalls: which explanation is best depends on the draws: small sets favour leave-one-out, and
    all numbers alike favour Shapley values. Where the item's own features always stay, these are
    too small, as they share with the item what both do together: three times as much may be nearer.
    An even share for each feature forecasts what follows from the number removed, which is more
    than nothing. A squared error is ruled by the rows and features that do most. What is left is
    often unlike anything the model was trained on.
    """

    measures: ClassVar[Mapping[str, str]] = {"infidelity": "lower", "infidelity_scaled": "lower"}
    sees: ClassVar[Mapping[str, Collection[str]]] = {
        "infidelity": (*WRONG, "scaled"),
        # By its best scale an even share, or an order alone, may forecast as well.
        "infidelity_scaled": tuple(f for f in WRONG if f not in ("constant", "leaking")),
    }
    draws: int = 64
    share: float = 1.0
    of: str = "all"

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws is {self.draws}, it must be at least 1")
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}, it must be above 0 and at most 1")
        check_of(self.of)

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) each, NaN without a feature to remove; scaled also where no removal did anything."""
        game, players = case.game(), moving(case, self.of)
        removed = self.removals(players, case.seed)
        fall = (game.everything()[:, None] - game.value(~removed)).double()
        told = (removed * case.explanation.values.double()[:, None]).sum(2)
        error = (told - fall).square().mean(1)
        # The best scale is ⟨told, fall⟩ / ⟨told, told⟩, and leaves 1 - cos² of the mean square.
        both = (told * fall).sum(1).clamp(min=0).square()
        size, whole = told.square().sum(1), fall.square().sum(1)
        left = 1 - torch.where(both > 0, both / (size * whole), 0).clamp(max=1)
        return {
            "infidelity": judgeable(error, players),
            "infidelity_scaled": torch.where(whole > 0, left, torch.nan),
        }

    def removals(self, players: Tensor, seed: int) -> Tensor:
        """(B, draws, F) bool: the sets of players (B, F) that are removed."""
        generator = torch.Generator().manual_seed(seed + APART)
        noise = torch.rand(len(players), self.draws, players.shape[1], generator=generator)
        noise = torch.where(players[:, None], noise.to(players.device), 2)
        place = noise.argsort(dim=2).argsort(dim=2)
        turn = (torch.arange(self.draws, device=players.device) + 0.5) / self.draws
        size = 1 + (turn * counted([self.share], players)).long()
        return (place < size[..., None]) & players[:, None]


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer infidelity."""
    return {"infidelity": Infidelity}
