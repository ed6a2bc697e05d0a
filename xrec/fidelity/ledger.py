"""A ledger of coalitions: what was asked of a model once is not asked again."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xrec.explain.game import Game
from xrec.explain.target import Target, rank
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


class Remembering(Game):
    """A game that evaluates no coalition of a row twice; `asked` counts those asked about."""

    def __init__(self, *given: Any, **how: Any) -> None:
        super().__init__(*given, **how)
        self.asked = 0
        self._known: dict[tuple[int, bytes], int] = {}
        self._values = self.inputs.values.new_zeros(0)

    def _merged(self, row: Tensor, inside: Tensor) -> Tensor:
        """(N,) values of coalitions (N, F) of rows (N,), from the ledger where they are in it."""
        codes = [code.tobytes() for code in np.packbits(inside.cpu().numpy(), axis=1)]
        keys = list(zip(row.tolist(), codes, strict=True))
        self.asked += len(keys)
        fresh = {key: at for at, key in enumerate(keys) if key not in self._known}
        if fresh:
            at = torch.tensor(list(fresh.values()), device=row.device)
            found = super()._merged(row[at], inside[at])
            begin = len(self._values)
            self._values = torch.cat([self._values.to(found), found])
            self._known |= {key: begin + place for place, key in enumerate(fresh)}
        places = torch.tensor([self._known[key] for key in keys], device=self._values.device)
        return self._values[places]

    def alone(self, row: int) -> Game:
        """The game of one row, with a count and a memory of its own."""
        one = super().alone(row)
        assert isinstance(one, Remembering)
        one.asked, one._known, one._values = 0, {}, self._values[:0]
        return one


class Ledger:
    """The games that explanations of some inputs are judged by, each with a memory.

    All who judge explanations of the same inputs of the same model share one, whichever explainer
    these are by: many ask for the same coalitions.

    everyone (B, N) int64, optional: the items that recommendations are ranked among, 0 where there
    are fewer, else those of `inputs.rivals`. baseline, optional: the vectors of absent="baseline",
    as `Game` has them.
    """

    def __init__(
        self,
        model: Recommender,
        inputs: Inputs,
        everyone: Tensor | None = None,
        baseline: Tensor | None = None,
    ) -> None:
        self.model, self.inputs, self.everyone, self.baseline = model, inputs, everyone, baseline
        self._games: dict[tuple[Target, str], Remembering] = {}

    def game(self, target: Target, absent: str) -> Game:
        """The game of a target under a removal operator."""
        if (target, absent) not in self._games:
            inputs = self.inputs
            if target is rank and self.everyone is not None:
                inputs = inputs.against(self.everyone)
            made = Remembering(self.model, inputs, target, absent, self.baseline)
            self._games[target, absent] = made
        return self._games[target, absent]

    @property
    def asked(self) -> int:
        """How many coalitions were asked about, over all games."""
        return sum(game.asked for game in self._games.values())

    @property
    def evaluations(self) -> int:
        """How many of them had to be evaluated."""
        return sum(game.evaluations for game in self._games.values())
