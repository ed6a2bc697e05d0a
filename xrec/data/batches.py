"""A batch: what the model is asked about, as tensors of ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from xrec.data.tasks import Task


@dataclass(frozen=True)
class Batch:
    """B users, what they did before, and an item each.

    user (B,) int64: index of the user.
    history (B, L) int64: items in order of time, the latest last; 0 is padding, on the left.
    history_time (B, L) int64: seconds since 1970 of each event, 0 for padding.
    history_action (B, L) int64: what was done at each event, 0 for padding.
    profile (B, P) int64: the user's attribute values, 0 where unknown.
    candidate (B,) int64: the item to be scored.
    label (B, T) float, optional: the truth of each of T tasks, NaN where it is not known.
    negatives (B, N) int64, optional: items the user has not had; training windows have them.
    learned (B, L) bool, optional: the events of a training window that are to be predicted.
    truth (B, L, T) float, optional: the label of each event of a training window, 0 for padding.
    """

    user: Tensor
    history: Tensor
    history_time: Tensor
    history_action: Tensor
    profile: Tensor
    candidate: Tensor
    label: Tensor | None = None
    negatives: Tensor | None = None
    learned: Tensor | None = None
    truth: Tensor | None = None

    def __len__(self) -> int:
        return len(self.user)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: change(v) for k, v in given.items() if v is not None})

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def rows(self, index: Tensor | slice) -> Batch:
        """Some of the rows, in the order of `index`; a row may come more than once."""
        return self._each(lambda tensor: tensor[index])

    def about(self, candidate: Tensor) -> Batch:
        """The same users asked about other items, of which no truth is known: candidate (B,)."""
        return replace(self, candidate=candidate, label=None)

    def ending(self, at: Tensor) -> Batch:
        """Training windows that end with their event at (B,): what came before moves right."""
        length = self.history.shape[1]
        back = length - 1 - at
        place = torch.arange(length, device=at.device) - back[:, None]

        def moved(column: Tensor) -> Tensor:
            index = place.clamp(min=0).view(*place.shape, *[1] * (column.dim() - 2))
            found = column.gather(1, index.expand(*place.shape, *column.shape[2:]))
            return torch.where((place >= 0).view(index.shape), found, 0)

        window = self._columns(moved)
        return replace(window, candidate=window.history[:, -1])

    def _columns(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with all that it tells of events changed alike."""
        names = ("history", "history_time", "history_action", "learned", "truth")
        given = {name: getattr(self, name) for name in names}
        return replace(self, **{k: change(v) for k, v in given.items() if v is not None})

    def earlier(self) -> Batch:
        """Training windows without their last event, as what was known before it."""
        return self._columns(lambda column: column[:, :-1])

    def pairs(self, tasks: Sequence[Task]) -> Batch:
        """A training window as 2B labelled pairs: the last event, and an item in its place.

        Every pair has the events before the last as its history; the candidate is the event that
        did follow, with its truths as label, and then the first of the row's negatives, of which
        only the tasks that rank know a truth: 0.
        """
        assert self.negatives is not None, "only training windows have negatives"
        assert self.truth is not None, "only training windows have truths"
        earlier = replace(self.earlier(), negatives=None, learned=None, truth=None)
        twice = earlier.rows(torch.arange(len(self), device=self.user.device).repeat(2))
        candidate = torch.cat([self.history[:, -1], self.negatives[:, 0]])
        truth = self.truth[:, -1]
        other = torch.tensor([0.0 if task.ranks else torch.nan for task in tasks]).to(truth)
        label = torch.cat([truth, other.expand_as(truth)])
        return replace(twice, candidate=candidate, label=label)
