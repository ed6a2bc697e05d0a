"""What a predicted game leaves unexplained, estimated without bias and added."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xrec.errors import XrecError
from xrec.explain.coalitions import Seats, balanced, signs_of, with_all
from xrec.explain.enumeration import enumerated
from xrec.explain.game import Game
from xrec.explain.kriging import unbiased
from xrec.explain.sampling import Sampled
from xrec.explain.surrogate import ProductGame
from xrec.explain.target import Target, logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class Nothing:
    """What a model says of rows without their players, where that is the same of all such rows.

    base (): that. fixed (K,): what such rows are left with, the vectors and names of fixed slots.
    """

    base: Tensor
    fixed: Tensor

    def of(self, inputs: Inputs) -> bool:
        """Whether it is what is said of rows of inputs."""
        left = _left(inputs)
        return left is not None and torch.equal(left, self.fixed)


def nothing(model: Recommender, inputs: Inputs) -> Nothing | None:
    """What is said of the rows' logits without their players, if it is the same of all."""
    left = _left(inputs)
    if left is None:
        return None
    return Nothing(ends(model, inputs.rows(slice(0, 1)), logit, "remove")[1][0], left)


def ends(
    model: Recommender,
    inputs: Inputs,
    target: Target,
    absent: str,
    known: Nothing | None = None,
) -> tuple[Tensor, Tensor]:
    """(B,) score and base, in one evaluation; a base that all rows share is asked of once.

    It is not asked of at all where it is `known`.
    """
    if absent != "remove":
        game = Game(model, inputs, target, absent)
        return game.everything(), game.nothing()
    if known is not None and target is logit and known.of(inputs):
        return target(model, inputs), known.base.expand(len(inputs))
    rows, device = len(inputs), inputs.values.device
    once = target is logit and _left(inputs) is not None
    index = torch.arange(rows, device=device)
    index = torch.cat([index, index[:1] if once else index])
    fixed = inputs.present & inputs.features.fixed
    present = torch.cat([inputs.present, fixed[:1] if once else fixed])
    said = target(model, inputs.rows(index).with_present(present))
    return said[:rows], said[rows:].expand(rows)


def _left(inputs: Inputs) -> Tensor | None:
    """(K,) what rows are left with without their players; None where that is not the same of all.

    Where it is the same, a model says the same of them.
    """
    fixed, features = inputs.present & inputs.features.fixed, inputs.features
    slots = fixed[0].nonzero()[:, 0]
    columns = (features.key, *([] if features.place is None else [features.place]))
    named = [column[:, slots].to(inputs.values) for column in columns]
    left = torch.cat([inputs.values[:, slots].flatten(1), *named], dim=1)
    if torch.equal(fixed, fixed[:1].expand_as(fixed)) and torch.equal(
        left, left[:1].expand_as(left)
    ):
        return left[0]
    return None


def corrected(
    model: Recommender,
    inputs: Inputs,
    target: Target,
    game: ProductGame,
    pairs: int,
    absent: str,
    seed: int,
) -> Sampled:
    """Shapley values of a predicted game (B rows), and of the rest by `pairs` of coalitions a row.

    The players of a row are put in an order drawn with `seed`, and coalitions are the same of all
    rows of as many players. Rows with no more coalitions than that are enumerated. Raises XrecError
    where a row has too many players.
    """
    whole, seats = Sampled.empty(inputs), Seats.of(inputs)
    known = game.shapley(max(1, int(seats.count.max()))).double()
    for rows in seats.alike():
        players = int(seats.count[rows[0]])
        some = inputs.rows(rows)
        if 2**players <= 2 * pairs + 2:
            found = enumerated(model, some, target, absent)
            whole.values[rows], whole.score[rows], whole.base[rows] = found
            continue
        if pairs <= players:
            raise XrecError(
                f"amortised_shapley: a row has {players} features, and {2 * pairs} evaluations are "
                f"too few to correct it: set evaluations to {2 * players + 2} or more, or to 0"
            )
        chosen = with_all(balanced(players, pairs, seed)).to(inputs.values.device)
        mine = _shuffled(seats.rows(rows), seed)
        laid = mine.laid(torch.cat([chosen, ~chosen]))
        worth = Game(model, some, target, absent).value(laid).double()
        one, other = worth.chunk(2, dim=1)
        whole.score[rows], whole.base[rows] = one[:, -1], other[:, -1]
        own = ProductGame(game.weight[rows], game.share[rows])
        rest = (one - other) / 2 - own.differences(mine.laid(chosen)).double()
        left = unbiased(signs_of(chosen), rest)
        whole.values[rows] = known[rows] + mine.told(left.values)
        whole.deviation[rows] = mine.told(left.deviation)
    return whole


def _shuffled(seats: Seats, seed: int) -> Seats:
    """The players in an order that is drawn, the same for all rows of as many."""
    players = int(seats.count[0])
    generator = torch.Generator().manual_seed(hash((players, seed)) % 2**63)
    order = torch.randperm(players, generator=generator).to(seats.rank.device)
    return replace(seats, rank=torch.where(seats.inside, order[seats.rank], 0))
