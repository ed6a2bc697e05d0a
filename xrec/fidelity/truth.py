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
MATERIAL = 0.1  # of a row's largest planted contribution: a smaller one need not be named


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


@runtime_checkable
class Analytic(Protocol):
    """A model whose contributions are known in closed form, so that only explainers can err."""

    def contributions(self, inputs: Inputs) -> Tensor:
        """(B, F) the Shapley value of each slot of the logit, 0 where it is not a player."""


def laid_out(truth: Truth, inputs: Inputs) -> Tensor:
    """(B, F) the truth of each slot; NaN for slots of which the plant tells nothing.

    Where events have parts, their words, the truth is that of the events: the plant does not tell
    which word must matter.
    The candidate's own slots are such: its text, identity and attributes all tell its category, so
    that the plant does not say which of them the model must use.
    """
    whole = torch.full(inputs.present.shape, torch.nan)
    features = inputs.features.to("cpu")
    entire = features.parent < 0
    whole[entire & (features.group == BEHAVIOUR)] = truth.behaviour.flatten()
    whole[entire & (features.group == PROFILE)] = truth.profile.flatten()
    there = features.gathered(inputs.players.cpu().long()) > 0
    return torch.where(there, whole, torch.nan).to(inputs.values.device)


def causes(truth: Tensor, k: int = CAUSES) -> Tensor:
    """(B, F) bool: each row's k largest contributions by size, fewer where fewer are not zero."""
    size = truth.nan_to_num(0).abs()
    place = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (place < k) & (size > 0)


def material(truth: Tensor) -> Tensor:
    """(B, F) bool: contributions of at least a tenth of the row's largest by size, and not zero."""
    size = truth.nan_to_num(0).abs()
    return (size > 0) & (size >= MATERIAL * size.amax(dim=1, keepdim=True))


def taken_up(game: Game, truth: Tensor) -> float:
    """Share of rows in which the model uses the plant, so that it is fair to score explainers.

    An intervention: taking away one planted cause must, on average, move the score by more than
    taking away one feature that the plant calls none of the causes. One at a time, as causes of
    opposite signs cancel when they go together. Rows without a cause, or without another feature,
    are left out; NaN if none remains.
    """
    known = ~truth.isnan()
    slots = known.any(0).nonzero()[:, 0]
    whole = game.inputs.features.whole
    values = game.value(whole[:, None, :] != slots[:, None])  # all but a slot and its parts
    moved = torch.zeros_like(truth)
    moved[:, slots] = (game.everything()[:, None] - values).abs().to(moved)
    cause = causes(truth)
    other = known & ~cause
    judged = cause.any(1) & other.any(1)
    by_cause, by_other = (
        (moved * group).sum(1) / group.sum(1).clamp(min=1) for group in (cause, other)
    )
    return float((by_cause > by_other)[judged].float().mean())
