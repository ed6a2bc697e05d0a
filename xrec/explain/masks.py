"""Games as functions of masks, for libraries that explain functions of a vector.

What such a library takes for the data is a mask, of ones where all players are in, against a
baseline of zeros, where none is. It explains one row at a time, and has its own random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xrec.explain.explanation import Explanation
from xrec.explain.game import Game, check_absent
from xrec.explain.generators import seeded
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

LEVELS = ("part", "whole")
BATCH = 512  # masks that a library may ask about at once; the game splits them as memory allows


class Masks:
    """One row of a game as a function of masks over its n players, on the CPU.

    level: what a player is. "part": a slot. "whole": all slots that are part of one (the words of
    an event), in or out together; where no slot has parts it is the same.
    members: for each player the slots (1 or more) that it stands for, in the order of the slots.
    """

    def __init__(self, game: Game, row: int, level: str = "part") -> None:
        self.game = game.alone(row)
        inputs = self.game.inputs
        slots = inputs.players[0].nonzero()[:, 0].cpu()
        itself = torch.arange(inputs.present.shape[1])
        whole = inputs.features.whole[0].cpu() if level == "whole" else itself
        owners = list(dict.fromkeys(whole[slots].tolist()))
        self.members = [slots[whole[slots] == owner] for owner in owners]
        self._owner = torch.full_like(itself, -1)  # the player of each slot, -1 for none
        for player, mine in enumerate(self.members):
            self._owner[mine] = player

    def __len__(self) -> int:
        return len(self.members)

    @property
    def everyone(self) -> Tensor:
        """(1, n) the mask of ones: what takes the place of the data."""
        return torch.ones(1, len(self))

    @property
    def nobody(self) -> Tensor:
        """(1, n) the mask of zeros: what takes the place of the baseline."""
        return torch.zeros(1, len(self))

    def value(self, masks: Tensor) -> Tensor:
        """(N,) double: the values of masks (N, n), in which a player above 1/2 is in."""
        known = torch.nn.functional.pad(masks.cpu() > 0.5, (0, 1))  # the last for slots of none
        return self.game.value(known[:, self._owner][None])[0].double().cpu()

    def array(self, masks: np.ndarray) -> np.ndarray:
        """The same for numpy."""
        return self.value(torch.from_numpy(np.asarray(masks, dtype=np.float64))).numpy()

    def spread(self, values: Tensor) -> Tensor:
        """(F,) values (n,) of players laid out on slots, each shared evenly among its members."""
        size = torch.tensor([float(len(mine)) for mine in self.members] + [1.0])
        each = torch.nn.functional.pad(values.double().cpu(), (0, 1)) / size
        return each[self._owner]


@dataclass(frozen=True)
class Found:
    """What a library says of one row's n players.

    values (n,). deviation (n,), optional: the standard error of each value.
    gap_tells: whether the completeness gap tells of the error. It does not where the values add up
    by construction, however wrong each of them may be.
    """

    values: Tensor
    deviation: Tensor | None = None
    gap_tells: bool = True


#: What a library does with the masks of one row.
Attribute = Callable[[Masks], Found]


def check_masks(absent: str, level: str, **counts: tuple[int, int]) -> None:
    """Refuse options out of range, each count given as (value, least), with a ValueError."""
    check_absent(absent)
    if level not in LEVELS:
        raise ValueError(f"level is '{level}', not part or whole")
    for name, (value, least) in counts.items():
        if value < least:
            raise ValueError(f"{name} is {value}, it must be at least {least}")


def explain_masks(
    name: str,
    attribute: Attribute,
    model: Recommender,
    inputs: Inputs,
    target: Target,
    absent: str,
    level: str,
    seed: int = 0,
) -> Explanation:
    """Explain row after row by a library, every row with the same seed, whatever the others are.

    name: the explainer's. absent: what becomes of a player that is out, see `Game`. level: what a
    player is, see `Masks`; the value of a whole is shared evenly among its parts, so that
    `Explanation.summed` gives it back. A row without players is not shown to the library.
    """
    with probe(model) as cost:
        game = Game(model, inputs, target, absent)
        score, base = game.everything(), game.nothing()
        values = torch.zeros_like(inputs.values[..., 0])
        deviation, tells = torch.full_like(values, torch.nan), torch.ones_like(inputs.present[:, 0])
        for row in range(len(inputs)):
            masks = Masks(game, row, level)
            if not len(masks):
                continue
            with seeded(seed):
                found = attribute(masks)
            values[row] = masks.spread(found.values).to(values)
            tells[row] = found.gap_tells
            if found.deviation is not None:
                deviation[row] = masks.spread(found.deviation).to(values)
    error = torch.where(tells, (values.sum(1) - (score - base)).abs(), torch.nan)
    told = None if bool(deviation.isnan().all()) else deviation
    return Explanation.of(inputs, values, score, base, cost, name, error, told)
