"""Whether a compressed model's input gradients are what they should be.

A model that computes with rounded numbers may let `backward` run and give gradients that are wrong,
without a word: what goes through rounded activations is lost, and what goes around them remains.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xrec.data.features import GROUPS
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.models.slope import Slope

COSINE, NORM = 0.99, 0.1  # least cosine, and largest difference of the norm from 1
DIRECTIONS, STEP = 8, 1e-2  # of a test without a twin; the step's length over the vectors'
OTHERS = "fast_shapley, kernel_shap or leave_one_out, which take features away"


@dataclass(frozen=True)
class Agreement:
    """How a model's input gradients agree with true ones, in the group of features that does worst.

    cosine: the mean over rows of that between the two. norm: the median of the length of the
    model's over that of the true ones. group: its name. by: "twin", the same weights in float32, or
    "differences", central differences of the score in random directions.
    """

    cosine: float
    norm: float
    group: str
    by: str

    @property
    def holds(self) -> bool:
        """Whether explainers may go by the gradients."""
        return self.cosine >= COSINE and abs(self.norm - 1) <= NORM

    def told(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def agreement(model: Recommender, twin: Recommender | None, inputs: Inputs) -> Agreement:
    """Compare the gradients of the score with those of `twin`, or else with differences.

    Each group of features is compared by itself, as the slots of one, such as the item's own, may
    outweigh all others.
    """
    mine = gradients(model, inputs)
    true = None if twin is None else gradients(twin, inputs)
    found = []
    for at, group in enumerate(GROUPS):
        of = inputs.players & (inputs.features.group == at)
        if of.any():
            if true is not None:
                pair, by = (mine * of[..., None], true * of[..., None]), "twin"
            else:
                directions = _directions(inputs, of)
                along = torch.stack([(mine * each).sum((1, 2)) for each in directions], dim=1)
                pair, by = (along, _differences(model, inputs, directions)), "differences"
            found.append(Agreement(*_alike(*pair), group, by))
    return min(found, key=lambda each: (each.holds, each.cosine))


def gradients(model: Recommender, inputs: Inputs) -> Tensor:
    """(B, F, D) of the score with respect to each slot's vector; 0 where none comes back."""
    values = inputs.values.detach().clone().requires_grad_()
    with torch.enable_grad():
        said = model.score(inputs.with_values(values))
    if not said.requires_grad:
        return torch.zeros_like(values)
    (found,) = torch.autograd.grad(said.sum(), values, allow_unused=True, materialize_grads=True)
    return found


def _directions(inputs: Inputs, of: Tensor) -> list[Tensor]:
    """Random changes (B, F, D) of the vectors of slots (B, F), each small beside its vector."""
    generator = torch.Generator().manual_seed(0)
    length = torch.where(of, STEP * inputs.values.norm(dim=-1), 0)[..., None]
    drawn = [torch.randn(inputs.values.shape, generator=generator) for _ in range(DIRECTIONS)]
    return [length * functional.normalize(each, dim=-1).to(inputs.values) for each in drawn]


@torch.no_grad()
def _differences(model: Recommender, inputs: Inputs, directions: list[Tensor]) -> Tensor:
    """(B, K) what the score changes by along each direction."""

    def moved(by: Tensor) -> Tensor:
        return model.score(inputs.with_values(inputs.values + by))

    return torch.stack([(moved(each) - moved(-each)) / 2 for each in directions], dim=1)


def _alike(mine: Tensor, true: Tensor) -> tuple[float, float]:
    """The mean cosine over rows, and the median ratio of lengths; nothing and nothing are alike."""
    mine, true = mine.flatten(1).double(), true.flatten(1).double()
    some = true.norm(dim=1) > 0
    if not some.any():
        same = float(not mine.any())
        return same, same
    cosine = functional.cosine_similarity(mine[some], true[some], dim=1)
    norm = mine[some].norm(dim=1) / true[some].norm(dim=1)
    return float(cosine.mean()), float(norm.median())


def judged(found: Agreement, straight_through: bool) -> Slope:
    """What explainers may make of it."""
    if not found.holds:
        true = "those of the same weights in float32" if found.by == "twin" else "its differences"
        return Slope(
            False,
            straight_through,
            f"the compressed model's input gradients are not true (of {found.group}: "
            f"cosine {found.cosine:.2f} with {true}, {found.norm:.2f} of their length): explain it "
            f"by {OTHERS}",
        )
    if straight_through:
        return Slope(
            True,
            True,
            "gradients are straight-through: of the same weights in float32, at what the rounded "
            f"model computes (cosine {found.cosine:.3f})",
        )
    return Slope()
