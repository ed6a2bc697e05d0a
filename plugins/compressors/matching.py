"""How far a student is from its teacher: in what it says, its states, attention, explanations.

All are 0 where the two are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

Pair = tuple[Tensor, Tensor]


def softened(mine: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of what is said of an item and its rivals, (B, 1 + R).

    It is of softmax distributions at a temperature, times its square, so that its gradient weighs
    as much at any (Hinton et al., 2015).
    """
    own, wanted = (functional.log_softmax(each / temperature, -1) for each in (mine, theirs))
    divergence = functional.kl_div(own, wanted, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def states(
    mine: Sequence[Pair], theirs: Sequence[Pair], fit: Sequence[Callable[[Tensor], Tensor]]
) -> Tensor:
    """Mean over layers of the squared error of states, over the teacher's mean square.

    Layers (B, S, D) are matched by `partners`; `fit` brings each of the student's to the teacher's
    width (FitNets: Romero et al., 2015; TinyBERT: Jiao et al., 2020).
    """
    each = []
    for (own, real), at, fitted in zip(mine, partners(len(mine), len(theirs)), fit, strict=True):
        wanted = theirs[at][0][real]
        each.append(functional.mse_loss(fitted(own[real]), wanted) / wanted.square().mean())
    return torch.stack(each).mean()


def attention(mine: Sequence[Pair], theirs: Sequence[Pair]) -> Tensor:
    """Mean over layers, heads and slots of the divergence of how a slot looks at the others.

    Layers (B, H, S, S) are matched by `partners` (MiniLM: Wang et al., 2020, of the last alone);
    where the two have other numbers of heads, the means over these are compared.
    """
    each = []
    for (own, real), at in zip(mine, partners(len(mine), len(theirs)), strict=True):
        wanted = theirs[at][0]
        if own.shape[1] != wanted.shape[1]:
            own, wanted = own.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
        logs = own.clamp(min=torch.finfo(own.dtype).tiny).log()
        apart = (torch.xlogy(wanted, wanted) - wanted * logs).sum(-1)
        each.append(apart.mean(1)[real].mean())
    return torch.stack(each).mean()


def explanations(mine: Tensor, theirs: Tensor) -> Tensor:
    """Mean squared distance of explanations (B, F), each brought to length 1.

    As Srinivas and Fleuret (2018) match Jacobians.
    """
    return (
        functional.mse_loss(
            functional.normalize(mine), functional.normalize(theirs), reduction="none"
        )
        .sum(1)
        .mean()
    )


def partners(students: int, teachers: int) -> list[int]:
    """The teacher's layer that each of the student's is matched with: as far through the model.

    The last is matched with the last (TinyBERT: Jiao et al., 2020).
    """
    return [round((at + 1) * teachers / students) - 1 for at in range(students)]
