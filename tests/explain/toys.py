"""Recommenders whose contributions are known in closed form, and oracles that share no code.

`exact_shapley` and `masked_score` build every masked input slot by slot and enumerate every
coalition: slow, and independent of `xrec.explain.game` and of the explainers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from itertools import combinations
from math import factorial

import torch
from torch import Tensor, nn

from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, FIXED, FeatureIndex
from xrec.data.module import Data
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_data


@lru_cache(maxsize=1)
def _data() -> Data:
    return small_data(users=2)  # a recommender needs data to stand on; a toy reads none of it


class Additive(Recommender):
    """score = bias + Σ over present slots of s, with s = weight (F, D) · the slot's vector."""

    def __init__(self, weight: Tensor, bias: float = 0.0) -> None:
        super().__init__(_data())
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(weight.new_tensor(bias))

    def embed(self, batch: Batch) -> Inputs:
        raise NotImplementedError("a toy is given its inputs")

    def said(self, inputs: Inputs) -> Tensor:
        """(B, F) what each slot says, 0 where it is absent."""
        values = torch.where(inputs.present[..., None], inputs.values, 0)
        return (values * self.weight).sum(-1)

    def score(self, inputs: Inputs) -> Tensor:
        return self.bias + self.said(inputs).sum(1)


class Pairwise(Additive):
    """An additive model plus ½ Σ pairs[f, g] s_f s_g; pairs (F, F), made symmetric, diagonal 0."""

    def __init__(self, weight: Tensor, pairs: Tensor, bias: float = 0.0) -> None:
        super().__init__(weight, bias)
        self.pairs = nn.Parameter(((pairs + pairs.T) / 2).fill_diagonal_(0))

    def score(self, inputs: Inputs) -> Tensor:
        said = self.said(inputs)
        return super().score(inputs) + (said @ self.pairs * said).sum(1) / 2


@torch.no_grad()
def contributions(model: Additive, inputs: Inputs) -> Tensor:
    """(B, F) the Shapley values of a toy, in closed form: a pair of players shares its product.

    A product with a fixed slot, which never leaves, goes to the player alone. For these toys the
    values are the same for removal and for the zero baseline, and so are Integrated Gradients.
    """
    said = model.said(inputs)
    pairs = model.pairs if isinstance(model, Pairwise) else torch.zeros_like(said.T @ said)
    players = said * inputs.players
    fixed = said - players
    return players * (1 + players @ pairs / 2 + fixed @ pairs)


def toy_inputs(
    values: Tensor, present: Tensor | None = None, fixed: Iterable[int] = (), group: int = BEHAVIOUR
) -> Inputs:
    """Slots (B, F, D) of one group, called "slot 0", "slot 1", …; those in `fixed` are fixed."""
    rows, slots = values.shape[:2]
    groups = torch.full((rows, slots), group)
    groups[:, list(fixed)] = FIXED
    names = tuple(f"slot {at}" for at in range(slots))
    key = torch.arange(slots).expand(rows, slots)
    features = FeatureIndex(groups, key, torch.full_like(key, -1), {group: names, FIXED: names})
    present = torch.ones(rows, slots, dtype=torch.bool) if present is None else present
    return Inputs(values, present, features)


def listed(values: Sequence[Sequence[float]]) -> Inputs:
    """Inputs of width 1 with the numbers (B, F) given, all present; with `ones`, what slots say."""
    return toy_inputs(torch.tensor(values, dtype=torch.double)[..., None])


def ones(slots: int) -> Additive:
    """The additive model whose slots say their one number."""
    return Additive(torch.ones(slots, 1, dtype=torch.double))


def random_toy(
    rows: int, slots: int, seed: int, pairs: bool = True, fixed: Iterable[int] = (0,)
) -> tuple[Additive, Inputs]:
    """A toy in double precision and inputs of it, of which about a quarter is padding."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.double)

    present = torch.rand(rows, slots, generator=generator) < 0.75
    present[:, list(fixed)] = True
    weight, bias = draw(slots, 3), float(draw(1))
    model = Pairwise(weight, draw(slots, slots), bias) if pairs else Additive(weight, bias)
    return model, toy_inputs(draw(rows, slots, 3), present, fixed)


@torch.no_grad()
def masked_score(
    model: Recommender,
    inputs: Inputs,
    row: int,
    inside: Collection[int],
    absent: str = "remove",
    baseline: Tensor | None = None,
    donor: int | None = None,
) -> float:
    """The score of one row with the players outside `inside` replaced, slot by slot.

    donor: the row that takes the place of absent players, for absent="resample".
    """
    values, present = inputs.values[row].clone(), inputs.present[row].clone()
    for slot in range(len(present)):
        fixed = int(inputs.features.group[row, slot]) == FIXED
        if not present[slot] or fixed or slot in inside:
            continue
        if absent == "remove":
            present[slot] = False
        elif absent == "baseline":
            values[slot] = 0 if baseline is None else baseline[slot]
        else:
            assert donor is not None
            present[slot] = inputs.present[donor, slot]
            values[slot] = inputs.values[donor, slot]
    one = Inputs(values[None], present[None], inputs.features.rows(slice(row, row + 1)))
    return float(model.score(one))


def shapley(value: Callable[[frozenset[int]], float], players: Sequence[int]) -> dict[int, float]:
    """Shapley values by enumeration of all 2^n coalitions (Shapley, 1953)."""
    n = len(players)
    subsets = [frozenset(s) for size in range(n + 1) for s in combinations(players, size)]
    worth = {subset: value(subset) for subset in subsets}
    found = dict.fromkeys(players, 0.0)
    for subset in subsets:
        for player in subset:
            share = factorial(len(subset) - 1) * factorial(n - len(subset)) / factorial(n)
            found[player] += share * (worth[subset] - worth[subset - {player}])
    return found


def exact_shapley(model: Recommender, inputs: Inputs, absent: str = "remove") -> Tensor:
    """(B, F) Shapley values of a model's score, by enumeration; 0 for what is not a player."""
    whole = torch.zeros(inputs.present.shape, dtype=torch.double)
    for row in range(len(inputs)):
        players = [int(slot) for slot in inputs.players[row].nonzero()[:, 0]]
        assert len(players) <= 10, "too many to enumerate"

        def value(inside: frozenset[int], row: int = row) -> float:
            return masked_score(model, inputs, row, inside, absent)

        for player, share in shapley(value, players).items():
            whole[row, player] = share
    return whole
