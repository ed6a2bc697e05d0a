"""Masked evaluation: the value of a recommendation when only some of its features are there.

One engine for every explainer and metric that asks what the model says of a coalition: it merges
coalitions that are the same, evaluates them in chunks that fit in memory, and counts.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from xrec.explain.target import Target, logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

OPERATORS = ("remove", "baseline", "resample")
MAX_BYTES = 16 * 2**20  # of feature vectors held at once; more is no faster, as caches overflow


class Game:
    """A cooperative game for each row: the players are its features, the value is the target.

    absent says what becomes of a player outside the coalition:
    "remove": its slot is absent. "baseline": its vector is the row of `baseline` (F, D), zero by
    default. "resample": its vector is that of the same slot in another row of the batch, drawn with
    `seed`; slots that the other row lacks are absent. It takes a batch of two rows at least.

    Fixed slots are always in, padding never. `evaluations` counts the rows evaluated so far.
    """

    def __init__(
        self,
        model: Recommender,
        inputs: Inputs,
        target: Target = logit,
        absent: str = "remove",
        baseline: Tensor | None = None,
        max_bytes: int = MAX_BYTES,
        seed: int = 0,
    ) -> None:
        if absent not in OPERATORS:
            raise ValueError(f"absent is '{absent}', not one of {', '.join(OPERATORS)}")
        if len(inputs) < (2 if absent == "resample" else 1):
            raise ValueError(f"absent='{absent}' needs more rows than the {len(inputs)} given")
        self.model, self.inputs, self.target, self.absent = model, inputs, target, absent
        self.evaluations = 0
        self._chunk = max(1, max_bytes // (inputs.values[0].nbytes + 1))
        self._stand_in = self._stand_ins(baseline, seed)

    def _stand_ins(self, baseline: Tensor | None, seed: int) -> Inputs:
        """What takes the place of absent players, in every row."""
        inputs = self.inputs
        if self.absent == "remove":
            return inputs.with_present(torch.zeros_like(inputs.present))
        if self.absent == "baseline":
            vector = torch.zeros_like(inputs.values[0]) if baseline is None else baseline
            return inputs.with_values(vector.expand_as(inputs.values))
        generator = torch.Generator().manual_seed(seed)
        shift = torch.randint(1, len(inputs), (len(inputs),), generator=generator)
        other = (torch.arange(len(inputs)) + shift) % len(inputs)
        return inputs.rows(other.to(inputs.values.device))

    @torch.no_grad()
    def value(self, coalitions: Tensor) -> Tensor:
        """(B, C) values of coalitions (B, C, F) bool: which features are in.

        The value of all is the score, and of none the base. What a coalition says of fixed slots
        and padding is ignored.
        """
        rows, count, slots = coalitions.shape
        if (rows, slots) != tuple(self.inputs.present.shape):
            raise ValueError(
                f"coalitions are {tuple(coalitions.shape)}, the game has {len(self.inputs)} rows "
                f"of {self.inputs.present.shape[1]} slots"
            )
        row = torch.arange(rows, device=self.inputs.present.device).repeat_interleave(count)
        return self.each(row, coalitions.flatten(0, 1)).view(rows, count)

    @torch.no_grad()
    def each(self, row: Tensor, coalitions: Tensor) -> Tensor:
        """(N,) values of coalitions (N, F) bool, each of the game of row (N,) int64."""
        if not len(row):
            return self.inputs.values.new_zeros(0)
        inside = coalitions.to(self.inputs.present.device) & self.inputs.players[row]
        distinct, where = _unique(inside, row)
        values = [
            self.target(self.model, self._masked(row[some], inside[some]))
            for some in distinct.split(self._chunk)
        ]
        self.evaluations += len(distinct)
        return torch.cat(values)[where]

    def _masked(self, row: Tensor, inside: Tensor) -> Inputs:
        """The inputs of some rows with the players outside `inside` replaced."""
        real, other = self.inputs.rows(row), self._stand_in.rows(row)
        keep = inside | real.features.fixed
        players = real.present & ~real.features.fixed
        present = torch.where(keep, real.present, other.present & players)
        return real.with_present(present).with_values(
            torch.where(keep[..., None], real.values, other.values)
        )

    def alone(self, row: int) -> Game:
        """The game of one row, with a count of its own."""
        one = copy.copy(self)
        one.inputs, one._stand_in = (
            inputs.rows(slice(row, row + 1)) for inputs in (self.inputs, self._stand_in)
        )
        one.evaluations = 0
        return one

    def everything(self) -> Tensor:
        """(B,) the value of all features: the score."""
        return self.value(torch.ones_like(self.inputs.present)[:, None])[:, 0]

    def nothing(self) -> Tensor:
        """(B,) the value of none: the base."""
        return self.value(torch.zeros_like(self.inputs.present)[:, None])[:, 0]


def _unique(inside: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the distinct (row, coalition) pairs, and for each pair which of them it is."""
    bits = torch.nn.functional.pad(inside, (0, -inside.shape[1] % 8)).view(len(inside), -1, 8)
    weight = 2 ** torch.arange(8, device=inside.device)
    packed = torch.cat([row[:, None], (bits * weight).sum(-1)], dim=1)
    _, where = torch.unique(packed, dim=0, return_inverse=True)
    first = torch.full((int(where.max()) + 1,), len(where), device=where.device)
    first.scatter_reduce_(0, where, torch.arange(len(where), device=where.device), "amin")
    return first, where
