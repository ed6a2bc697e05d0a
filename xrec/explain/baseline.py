"""What gradients start from: baselines in the space of feature vectors, in slots that stay."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from xrec.data.features import GROUPS
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.explain.gradients import Gradients
from xrec.explain.probe import probe
from xrec.explain.seeds import row_seeds
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

BASELINES = ("zero", "padding", "mean", "users")
LEARNED = ("mean", "users")


@dataclass(frozen=True)
class Background:
    """The features of a sample of N users, to take baselines from.

    A slot's counterpart in another row is the one as far from the end of its group: the last event
    for the last event, an item's view for the same view, a token for a token.

    values (N, F, D), present (N, F) bool, group (N, F) int64: as in `Inputs` and its features.
    """

    values: Tensor
    present: Tensor
    group: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: Recommender, data: Data, users: int, seed: int) -> Self:
        """The validation queries of users drawn without replacement: `users`, or all there are."""
        drawn = torch.randperm(len(data.users) - 1, generator=torch.Generator().manual_seed(seed))[
            :users
        ]
        batch = data.queries("validate", 1 + drawn.sort().values).to(model.device)
        with probe(model):
            inputs = model.embed(batch)
        return cls(inputs.values, inputs.present, inputs.features.group)

    def __len__(self) -> int:
        return len(self.values)

    def means(self) -> Tensor:
        """(G, D) the mean vector of the slots of each group; zero for a group without any."""
        there = torch.nn.functional.one_hot(self.group, len(GROUPS)) * self.present[..., None]
        vectors = torch.where(self.present[..., None], self.values, 0)
        weight = there.to(vectors).flatten(0, 1)
        return weight.T @ vectors.flatten(0, 1) / weight.sum(0).clamp(min=1)[:, None]

    def mean(self, inputs: Inputs) -> Tensor:
        """(B, F, D) the mean vector of each slot's group."""
        return self.means()[inputs.features.group].to(inputs.values)

    def standing_in(self, inputs: Inputs, users: Tensor) -> Tensor:
        """(B, F, D) the vectors of the same slots of users (B,) int64, from 0, one for each row.

        Where that user lacks the slot it is the mean vector of its group.
        """
        group = inputs.features.group
        mine, theirs = _from_end(group), _from_end(self.group[users])
        row = torch.arange(len(group), device=group.device)[:, None]
        slots = self.group.shape[1]
        # Where each user's slot of a group, counted from its end, stands; slots there are none.
        where = group.new_full((len(group), len(GROUPS), max(slots, group.shape[1])), slots)
        where[row, self.group[users], theirs] = torch.arange(slots, device=group.device)
        at = where[row, group, mine]
        present = torch.nn.functional.pad(self.present[users], (0, 1))
        values = torch.nn.functional.pad(self.values[users], (0, 0, 0, 1))
        there = present[row, at][..., None]
        return torch.where(there, values[row, at].to(inputs.values), self.mean(inputs))


def _from_end(group: Tensor) -> Tensor:
    """(B, F) int64: how many slots of the same group come after each."""
    member = torch.nn.functional.one_hot(group, len(GROUPS))
    after = member.flip(1).cumsum(1).flip(1) - 1
    return after.gather(2, group[..., None])[..., 0]


@dataclass(kw_only=True)
class FromUsers:
    """An explainer that takes vectors from a background of users. Options:

    background: how many users' validation queries are taken. seed: of what is drawn.
    """

    background: int = 64
    seed: int = 0
    sample: Background | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.background < 1:
            raise ValueError(f"background is {self.background}, it must be at least 1")

    @property
    def learns(self) -> bool:
        """Whether there is anything to fit."""
        return True

    def fit(self, model: Recommender, data: Data) -> dict[str, Any]:
        """Embed the background, if there is need of one."""
        if not self.learns:
            return {}
        begin = time.perf_counter()
        self.sample = Background.of(model, data, self.background, self.seed)
        return {"users": len(self.sample), "seconds": time.perf_counter() - begin}

    def state(self) -> dict[str, Tensor]:
        """The background's tensors; none where there is no need of them."""
        if self.sample is None:
            return {}
        sample = self.sample
        return {"values": sample.values, "present": sample.present, "group": sample.group}

    def restore(self, state: Mapping[str, Tensor], model: Recommender, data: Data) -> None:
        """Take the background from its tensors."""
        if state:
            self.sample = Background(**{name: t.to(model.device) for name, t in state.items()})

    def fitted(self) -> Background:
        """The background. Raises XrecError: there is none yet."""
        if self.sample is None:
            raise XrecError(
                f"explainer {type(self).__name__} takes vectors from a background of users: "
                "call fit(model, data) before explain"
            )
        return self.sample


@dataclass(kw_only=True)
class FromBaseline(FromUsers):
    """An explainer that asks what leads from a baseline's vectors to the features'.

    Slots stay present, and fixed slots keep their vectors. Options, with `background` and `seed`:

    baseline: "zero", the zero vector. "padding", the vector that the model gives to padding.
        "mean", the mean vector of the slots of the same group, over a background of users. "users",
        the vectors of the same slots of other users, over whom explanations are averaged (expected
        gradients: Erion et al., 2021). Which ones follows from the row's own features and `seed`; a
        background user may be the one explained, at an earlier time.
    samples: how many users, for "users".
    """

    baseline: str = "zero"
    samples: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baseline not in BASELINES:
            raise ValueError(f"baseline is '{self.baseline}', not one of {', '.join(BASELINES)}")
        if not 1 <= self.samples <= self.background:
            raise ValueError(
                f"samples is {self.samples}, it must be from 1 to background, {self.background}"
            )

    @property
    def learns(self) -> bool:
        """Whether the baseline is taken from users."""
        return self.baseline in LEARNED

    @property
    def excused(self) -> dict[str, str]:
        """The gates of zero baselines that others do not pass."""
        linear = {"linear": "contributions are differences from what users have"}
        twins = {"symmetry": "twins have other counterparts among users' features"}
        return {"zero": {}, "padding": {}, "mean": linear, "users": linear | twins}[self.baseline]

    def starts(self, model: Recommender, inputs: Inputs) -> list[Tensor]:
        """The baselines (B, F, D) that explanations are averaged over: one, or of each sample.

        They agree with the inputs in all slots but players.
        """
        if self.baseline == "users":
            every = self._users(inputs)
        elif self.baseline == "mean":
            every = [self.fitted().mean(inputs)]
        elif self.baseline == "padding":
            every = [model.padding(inputs)]
        else:
            every = [torch.zeros_like(inputs.values)]
        players = inputs.players[..., None]
        return [torch.where(players, start, inputs.values).detach() for start in every]

    def _users(self, inputs: Inputs) -> list[Tensor]:
        background = self.fitted()
        orders = [
            torch.randperm(len(background), generator=torch.Generator().manual_seed(seed))
            for seed in row_seeds(inputs, self.seed)
        ]
        drawn = torch.stack(orders)[:, : self.samples].to(inputs.values.device)
        return [background.standing_in(inputs, users) for users in drawn.unbind(1)]

    def averaged(
        self, of: Gradients, attribute: Callable[[Tensor, Tensor], Tensor], copies: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Contributions (B, F) and base (B,), averaged over baselines.

        attribute: contributions (n, F) of rows (n,) from baselines (n, F, D), for which it asks
        for each row `copies` times at once.
        """

        def block(rows: Tensor) -> Tensor:
            starts = self.starts(of.model, of.inputs.rows(rows))
            with torch.no_grad():
                bases = [of(start, rows)[:, None] for start in starts]
            each = [
                torch.cat([attribute(rows, start), base], dim=1)
                for start, base in zip(starts, bases, strict=True)
            ]
            return torch.stack(each).mean(0)

        found = of.by_chunks(block, copies)
        return found[:, :-1], found[:, -1]
