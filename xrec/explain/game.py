"""Masked evaluation: the value of a recommendation when only some of its features are there.

One engine for every explainer and metric that asks what the model says of a coalition: it merges
coalitions that are the same, evaluates them in chunks that fit in memory, and counts.
"""

from __future__ import annotations

import copy
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from xrec.explain.memory import Meter, bound, rows_within
from xrec.explain.target import Target, logit
from xrec.models.distinct import distinct
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

OPERATORS = ("remove", "baseline", "resample")
VECTORS = 16 * 2**20  # bytes of feature vectors at once: more is no faster, as caches overflow
PLENTY = 64  # times its feature vectors: more than a row takes in a model of any kind
CODES = 16  # bytes that telling a coalition from others takes for each of its slots, at most
#: The bytes of a row in a model, by what was asked of it and its slots' number and width.
_known: WeakKeyDictionary[Recommender, dict[tuple[object, ...], int]] = WeakKeyDictionary()


def check_absent(absent: str) -> None:
    """Raise ValueError for an operator that does not do for a row alone."""
    if absent not in ("remove", "baseline"):
        raise ValueError(f"absent is '{absent}', not remove or baseline")


class Game:
    """A cooperative game for each row: the players are its features, the value is the target.

    absent says what becomes of a player outside the coalition:
    "remove": its slot is absent. "baseline": its vector is that of `baseline`, (F, D) or (B, F, D),
    zero by default. "resample": its vector is that of the same slot in another row of the batch,
    drawn with `seed`; slots that the other row lacks are absent. It takes two rows at least.

    Fixed slots are always in, padding never. `evaluations` counts the rows evaluated so far.

    max_bytes, else the `bound` of the moment, bounds what an evaluation holds at once beside the
    inputs and the coalitions that it is given, however many these are. What a row takes is measured
    on the first one.
    """

    def __init__(
        self,
        model: Recommender,
        inputs: Inputs,
        target: Target = logit,
        absent: str = "remove",
        baseline: Tensor | None = None,
        max_bytes: int | None = None,
        seed: int = 0,
    ) -> None:
        if absent not in OPERATORS:
            raise ValueError(f"absent is '{absent}', not one of {', '.join(OPERATORS)}")
        if len(inputs) < (2 if absent == "resample" else 1):
            raise ValueError(f"absent='{absent}' needs more rows than the {len(inputs)} given")
        self.model, self.inputs, self.target, self.absent = model, inputs, target, absent
        self.evaluations = 0
        self._bytes = bound() if max_bytes is None else max_bytes
        self._row = inputs.values[0].nbytes + 1
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
        if not count:
            return self.inputs.values.new_zeros(rows, 0)
        block = max(1, self._bytes // (2 * CODES * count * slots))
        parts = torch.arange(rows, device=self.inputs.present.device).split(block)
        return torch.cat([self._valued(part, coalitions) for part in parts])

    def _valued(self, part: Tensor, coalitions: Tensor) -> Tensor:
        """(P, C) values of the coalitions of some rows (P,)."""
        begin, count = int(part[0]), coalitions.shape[1]
        mine = coalitions[begin : begin + len(part)].to(part.device)
        inside = (mine & self.inputs.players[part][:, None]).flatten(0, 1)
        return self._merged(part.repeat_interleave(count), inside).view(len(part), count)

    @torch.no_grad()
    def each(self, row: Tensor, coalitions: Tensor) -> Tensor:
        """(N,) values of coalitions (N, F) bool, each of the game of row (N,) int64."""
        if not len(row):
            return self.inputs.values.new_zeros(0)
        block = max(1, self._bytes // (2 * CODES * coalitions.shape[1]))
        inside = coalitions.to(row.device) & self.inputs.players[row]
        parts = zip(row.split(block), inside.split(block), strict=True)
        return torch.cat([self._merged(*part) for part in parts])

    def _merged(self, row: Tensor, inside: Tensor) -> Tensor:
        """(N,) values of coalitions (N, F) of rows (N,), those that are the same found once."""
        first, where = distinct(row, inside)
        values = self._evaluated(row[first], inside[first])
        self.evaluations += len(first)
        return values[where]

    def _evaluated(self, row: Tensor, inside: Tensor) -> Tensor:
        """(N,) values of coalitions (N, F) of rows (N,), as many at once as memory allows.

        Where the bound may be felt and what a row takes is not known, the first is a trial.
        """

        def values(begin: int, size: int) -> Tensor:
            some = slice(begin, begin + size)
            return self.target(self.model, self._masked(row[some], inside[some]))

        count, found = len(row), []
        most, half = max(1, VECTORS // self._row), self._bytes // 2
        if count * self._row * PLENTY > half:
            known = _known.setdefault(self.model, {})
            rivals = self.inputs.rivals  # a target may compare with all of them
            key = (
                getattr(self.target, "__qualname__", ""),
                *self.inputs.values.shape[1:],
                0 if rivals is None else rivals.shape[1],
            )
            if key not in known:
                with Meter() as meter:
                    found.append(values(0, 1))
                known[key] = meter.peak
            most = min(most, rows_within(half, known[key]))
        found += [values(at, min(most, count - at)) for at in range(len(found), count, most)]
        return torch.cat(found)

    def _masked(self, row: Tensor, inside: Tensor) -> Inputs:
        """The inputs of some rows with the players outside `inside` replaced."""
        real = self.inputs.rows(row)
        if self.absent == "remove":  # vectors stay, so that a model may see what rows share
            fewer = real.present & (inside | real.features.fixed)
            return real.with_present(fewer).from_source(row)
        other = self._stand_in.rows(row)
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
