"""Planted truth: what each feature really contributed, and whether the model took it up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, PROFILE
from xrec.data.module import Data
from xrec.explain.game import Game
from xrec.models.inputs import Inputs

CAUSES = 5  # of the largest planted contributions, as many as a person reads


@dataclass(frozen=True)
class Truth:
    """The planted contributions: behaviour (B, L) of each event, profile (B, P) of each value."""

    behaviour: Tensor
    profile: Tensor


@runtime_checkable
class Planted(Protocol):
    """A dataset that knows what caused its events."""

    def truth(self, data: Data, batch: Batch) -> Truth:
        """The true contribution of each past event and profile value to the candidate."""


def laid_out(truth: Truth, inputs: Inputs) -> Tensor:
    """(B, F) the truth of each slot; NaN for slots of which the plant tells nothing.

    The candidate's own slots are such: its text, identity and attributes all tell its category, so
    that the plant does not say which of them the model must use.
    """
    whole = torch.full(inputs.present.shape, torch.nan)
    group = inputs.features.group.cpu()
    whole[group == BEHAVIOUR] = truth.behaviour.flatten()
    whole[group == PROFILE] = truth.profile.flatten()
    return torch.where(inputs.players.cpu(), whole, torch.nan).to(inputs.values.device)


def causes(truth: Tensor, k: int = CAUSES) -> Tensor:
    """(B, F) bool: each row's k largest contributions by size, fewer where fewer are not zero."""
    size = truth.nan_to_num(0).abs()
    place = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (place < k) & (size > 0)


def taken_up(game: Game, truth: Tensor, seed: int = 0) -> float:
    """Share of rows in which the model uses the plant, so that it is fair to score explainers.

    An intervention: taking away the planted causes must move the score by more than taking away as
    many other features for which the plant says that they did nothing, or little. Rows that have
    no cause or too few others are left out; NaN if none remains.
    """
    cause = causes(truth)
    others = ~truth.isnan() & ~cause
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(seed)).to(truth.device)
    place = torch.where(others, noise, 2.0).argsort(dim=1).argsort(dim=1)
    count = torch.minimum(cause.sum(1), others.sum(1))
    decoy = others & (place < count[:, None])
    ranked = torch.where(cause, truth.nan_to_num(0).abs(), -1.0).argsort(dim=1, descending=True)
    strongest = cause & (ranked.argsort(dim=1) < count[:, None])
    values = game.value(torch.stack([~strongest, ~decoy], dim=1))
    moved = (game.everything()[:, None] - values).abs()
    judged = count > 0
    return float((moved[:, 0] > moved[:, 1])[judged].float().mean())
