"""LiRA, the likelihood-ratio attack: is what a model says likelier of one that knew the user?

Carlini et al., 2022, "Membership inference attacks from first principles". What other models say of
the same user, some of which knew them and some of which did not, is the measure: an easy history is
not taken for a known one. Each shadow in turn is the target, and the others are the attacker's.

The target's pair, which knew just those whom it did not, is left out with it. Then of the others as
many knew a user as did not, whether or not the target did, and nothing of the split it was made by
is among them. Without the target alone, those it knew would be known to one fewer of the others,
and an attacker could come out below chance where nothing leaks.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

MANY = 32  # models on a side from which a user's own variance is known well enough
FLOOR = 1e-12  # of a variance: where models do not differ there is nothing to tell them by


def ratios(said: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """(K, U) how much likelier it is, by log, that a target knew a user; and how unlikely if not.

    said (K, U) float64: what each of K shadows, which come in pairs, says of each user. inside
    (K, U) bool: whom it knew. The first is the online attack; the second, the offline one, does
    with shadows that did not know the user: how many deviations above theirs a target is.
    Variances are one for all users while shadows are fewer than `MANY` on a side.
    """
    online, offline = torch.zeros_like(said), torch.zeros_like(said)
    for target, others in _others(len(said)):
        mean, variance = zip(
            *(_normal(said[others], inside[others] == known) for known in (True, False)),
            strict=True,
        )
        gap = [said[target] - each for each in mean]
        known, unknown = (
            -(at**2 / spread + spread.log()) / 2 for at, spread in zip(gap, variance, strict=True)
        )
        online[target] = known - unknown
        offline[target] = gap[1] / variance[1].sqrt()
    return online, offline


def discriminant(said: Tensor, inside: Tensor) -> Tensor:
    """(K, U) the same ratio of M things said, said (K, U, M) float64, with one covariance.

    Of each user only what differs from what the other shadows say on average counts; how it differs
    is taken to be alike for all users, which needs far fewer shadows than to find it for each. That
    is Fisher's linear discriminant (Fisher, 1936), the likelihood ratio of two normal distributions
    but for a constant.
    """
    found = torch.zeros(said.shape[:2]).double()
    for target, others in _others(len(said)):
        centre = said[others].mean(0)
        rows, known = (said[others] - centre).flatten(0, 1), inside[others].flatten()
        mean = [rows[known == side].mean(0) for side in (True, False)]
        spread = rows - torch.where(known[:, None], mean[0], mean[1])
        scale = spread.square().mean(0).sqrt()
        scale = torch.where(scale**2 > FLOOR, scale, torch.inf)
        unit = spread / scale
        weight = torch.linalg.pinv(unit.T @ unit / len(unit), rtol=1e-9, hermitian=True)
        found[target] = (said[target] - centre) / scale @ weight @ ((mean[0] - mean[1]) / scale)
    return found


def _others(shadows: int) -> Iterator[tuple[int, Tensor]]:
    """Each target, and the shadows (K - 2,) that are not of its pair."""
    every = torch.arange(shadows)
    for target in range(shadows):
        yield target, every[every // 2 != target // 2]


def _normal(said: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (U,) and variance (U,) of the shadows chosen (S, U), as many for each user."""
    count = int(chosen[:, 0].sum())
    each = said.T[chosen.T].view(-1, count)
    variance = each.var(1) if count >= MANY else each.var(1).mean().expand(len(each))
    return each.mean(1), variance.clamp(min=FLOOR)
