"""How much the units of a model matter: by their weights, their gradients, or gates that learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_pruning.pruner.importance import GroupMagnitudeImportance, GroupTaylorImportance

from xrec.compress.blocks import Units
from xrec_plugins.compressors.gates import Layers, Part, gated
from xrec_plugins.compressors.surgery import group
from xrec_plugins.compressors.trial import Trial

RATE = 0.1  # of gates: the root mean square of what a step moves them by


@dataclass(frozen=True, eq=False)
class Pool:
    """Parts whose units are alike and are ranked together, and how many of these are to be kept."""

    parts: Sequence[Part]
    kept: int

    @property
    def count(self) -> int:
        """How many units there are."""
        return sum(part.count for part in self.parts)


Scores = list[Tensor]  # (n,) of each part of a pool: how much each unit matters


def magnitude(trial: Trial, pool: Pool) -> Scores:
    """The squared length of all weights of a unit, over the mean of its part, by torch-pruning.

    Of layers, which are no such group of weights, the loss `without` each.
    """
    scorer = GroupMagnitudeImportance(p=2)
    return [
        _by_unit(part, scorer(group(part))) if isinstance(part, Units) else without(trial, part)
        for part in pool.parts
    ]


def taylor(trial: Trial, pool: Pool) -> Scores:
    """What the loss would change by to the first order: |w · dL/dw| over all weights of a unit.

    The mean over batches, by torch-pruning (Molchanov et al., 2019). Of layers, the loss `without`
    each, which is what they change it by.
    """
    scorer, batches = GroupTaylorImportance(normalizer=None), range(len(trial.batches))
    groups = {part: group(part) for part in pool.parts if isinstance(part, Units)}
    sums = {part: torch.zeros(part.count) for part in groups}
    for at in batches if groups else ():
        _differentiate(trial, at, list(groups))
        for part, each in groups.items():
            sums[part] += _by_unit(part, scorer(each)) / len(batches)
    trial.model.zero_grad(set_to_none=True)
    return [sums[part] if isinstance(part, Units) else without(trial, part) for part in pool.parts]


def learned(trial: Trial, pool: Pool) -> Scores:
    """The mean height of gates, once only so many may be open: the loss holds those it misses.

    A gate multiplies what a unit adds (Michel et al., 2019). All begin open, at 1; each batch moves
    them down its loss's gradient, then to the nearest heights from 0 to 1 of which the sum is at
    most a bound, as the lasso has it. The bound falls to the units kept in the first half of the
    batches; the mean is over the second.
    """
    sizes, steps = [part.count for part in pool.parts], len(trial.batches)
    gates, found = torch.ones(pool.count, device=trial.model.device), []
    for at in range(steps):
        gates.requires_grad_()
        with gated(zip(pool.parts, gates.split(sizes), strict=True)):
            loss = trial.loss(at)
        (slope,) = torch.autograd.grad(loss, gates, allow_unused=True, materialize_grads=True)
        spread = slope.square().mean().sqrt().clamp(min=torch.finfo(slope.dtype).tiny)
        closed = min(1.0, 2 * (at + 1) / steps) * (pool.count - pool.kept)
        gates = bounded(gates.detach() - RATE * slope / spread, pool.count - closed)
        found.append(gates)
    return list(torch.stack(found[steps // 2 :]).mean(0).cpu().split(sizes))


IMPORTANCES: dict[str, Callable[[Trial, Pool], Scores]] = {
    "magnitude": magnitude,
    "taylor": taylor,
    "learned": learned,
}


def weakest(scores: Scores, kept: int) -> list[list[int]]:
    """The units of each part that go, so that `kept` are left in all: those of the least scores.

    The best of each part stays, whatever its score.
    """
    raised = [each.clone() for each in scores]
    for each in raised:
        each[each.argmax()] = torch.inf
    order = torch.cat(raised).argsort(stable=True)
    gone = torch.zeros(len(order), dtype=torch.bool)
    gone[order[: len(order) - kept]] = True
    return [each.nonzero()[:, 0].tolist() for each in gone.split([len(each) for each in scores])]


@torch.no_grad()
def without(trial: Trial, layers: Layers) -> Tensor:
    """(n,) the mean loss where states go past each of some layers."""
    open_, found = torch.ones(layers.count, device=trial.model.device), []
    for at in range(layers.count):
        gates = open_.index_fill(0, torch.tensor([at], device=open_.device), 0)
        with gated([(layers, gates)]):
            found.append(torch.stack([trial.loss(each) for each in range(len(trial.batches))]))
    return torch.stack(found).mean(1).cpu()


def bounded(gates: Tensor, most: float) -> Tensor:
    """The nearest numbers (n,) from 0 to 1 of which the sum is at most `most` (Duchi et al., 2008).

    They are what is left of all above one level, which is found by halving.
    """
    low, high = gates.new_zeros(()), gates.max()
    if gates.clamp(0, 1).sum() <= most:
        return gates.clamp(0, 1)
    for _ in range(50):
        middle = (low + high) / 2
        above = (gates - middle).clamp(0, 1).sum() > most
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (gates - high).clamp(0, 1)


def _by_unit(units: Units, channels: Tensor) -> Tensor:
    """(n,) sums over the channels (n · size,) of each unit."""
    return channels.detach().view(units.count, units.size).sum(1).cpu()


def _differentiate(trial: Trial, at: int, parts: Sequence[Units]) -> None:
    """Leave a batch's gradient with the weights; it is 0 where they have no bearing."""
    trial.model.zero_grad(set_to_none=True)
    trial.loss(at).backward()
    for part in parts:
        for each in (*part.writers, part.reader):
            if each.weight.grad is None:
                each.weight.grad = torch.zeros_like(each.weight)
