"""Shapley values from few coalitions: a Gaussian process over the odd part of a game.

A Shapley value depends on the differences d(S) = (v(S) - v(N - S)) / 2 alone, which are an odd
function of the signs z_i = ±1 that say who is in. In the Fourier basis of the cube, products of
signs over sets A of players, the value of player i is 2 Σ c_A / |A| over the sets A of odd size
that i is in. A weighted regression (Lundberg and Lee, 2017; Musco and Witter, 2025) fits the sets
of one player and takes all others for noise. Here the sets of three, five … players are given a
prior, independent normal coefficients with variances Π ρ_i over the set, those of one player a flat
one, and the values are the mean of what they can be, given the differences: kriging, or Bayesian
quadrature (O'Hagan, 1991). Their deviation is what is still uncertain. Sums over sets are products
over players, so that everything has a closed form. All is in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

ORDER = 2.5  # Σ ρ: how slowly variances fall with the size of a set
ROUGH = 6.0  # the same of what a prediction leaves, which has less that adds up
MOST = 0.9  # of any ρ: at 1 the sets with and without a player are alike
FLOOR = 0.1  # of a player's share in ρ, by the length of all values
NUGGET = 1e-9  # of the mean variance, for a kernel that can be inverted
NODES = 8  # of Gauss and Legendre at most: exact for sets of up to 16 players
AT_ONCE = 2**22  # numbers of kernels held at once


@dataclass(frozen=True)
class Kriged:
    """Shapley values and their standard errors (B, n), and the log evidence (B,) of the prior."""

    values: Tensor
    deviation: Tensor
    evidence: Tensor


def even(players: int, order: float = ORDER) -> Tensor:
    """(1, n) the prior that knows nothing of the players."""
    return torch.full((1, players), min(order / players, MOST), dtype=torch.double)


def kriged(signs: Tensor, differences: Tensor) -> Kriged:
    """Shapley values from the differences (B, m) of coalitions whose signs are (m, n) ±1; m > n.

    The coalition of all must be among them, so that the values add up to its worth. At first all
    players have the same ρ, and then ρ in proportion to the values found; the likelier is taken.
    """
    rows = max(1, AT_ONCE // (signs.numel() + len(signs) ** 2))
    parts = [_kriged(signs, some) for some in differences.split(rows)]
    names = ("values", "deviation", "evidence")
    return Kriged(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _kriged(signs: Tensor, differences: Tensor) -> Kriged:
    rho = even(signs.shape[1]).to(signs.device)
    first = _given(signs, differences, rho)
    share = first.values.abs()
    share = share + FLOOR * share.norm(dim=1, keepdim=True)
    total = share.sum(1, keepdim=True)
    own = (ORDER * share / torch.where(total > 0, total, 1)).clamp(max=MOST)
    second = _given(signs, differences, torch.where(total > 0, own, rho))
    better = second.evidence > first.evidence
    return Kriged(
        torch.where(better[:, None], second.values, first.values),
        torch.where(better[:, None], second.deviation, first.deviation),
        torch.where(better, second.evidence, first.evidence),
    )


@dataclass(frozen=True)
class _Fit:
    """What follows from signs (m, n) and a prior (B, n), whatever the differences.

    root: the Cholesky factor of the kernel. weights (B, n, m): values = weights · differences.
    rest (B, m, m): the quadratic form that judges what the linear part leaves.
    """

    root: Tensor
    weights: Tensor
    rest: Tensor
    inner: Tensor

    @classmethod
    def of(cls, signs: Tensor, rho: Tensor) -> _Fit:
        table = kernel(signs, rho)
        scale = NUGGET * table.diagonal(dim1=1, dim2=2).mean(1)
        table = table + scale[:, None, None] * torch.eye(len(signs)).to(table)
        root = torch.linalg.cholesky(table)
        inverse = torch.cholesky_inverse(root)
        line = inverse @ signs
        inner = signs.T @ line
        slope = torch.linalg.solve(inner, line.transpose(1, 2))  # (B, n, m)
        rest = inverse - line @ slope
        return cls(root, 2 * slope + crossed(signs, rho) @ rest, rest, inner)

    def variance(self, signs: Tensor, rho: Tensor, weights: Tensor) -> Tensor:
        """(B, n) of the values by weights that are right for games that add up, in prior units."""
        told = weights @ kernel(signs, rho)
        found = prior(rho) + ((told - 2 * crossed(signs, rho)) * weights).sum(2)
        return found.clamp(min=0)

    def spread(self, differences: Tensor) -> Tensor:
        """(B,) of the prior: by likelihood or by leaving out one at a time, whichever is more."""
        told = (self.rest @ differences[..., None])[..., 0]
        free = differences.shape[1] - self.weights.shape[1]
        likely = (differences * told).sum(1) / free
        one = self.rest.diagonal(dim1=1, dim2=2)
        left = torch.where(one > 0, told.square() / one, 0).mean(1)
        return torch.maximum(likely, left).clamp(min=0)

    def evidence(self, differences: Tensor) -> Tensor:
        """(B,) the log of the restricted likelihood, up to a constant."""
        free = differences.shape[1] - self.weights.shape[1]
        square = ((differences[:, None] @ self.rest)[:, 0] * differences).sum(1)
        log_root = self.root.diagonal(dim1=1, dim2=2).log().sum(1)
        return -free / 2 * square.clamp(min=1e-300).log() - log_root - self.inner.logdet() / 2


def _given(signs: Tensor, differences: Tensor, rho: Tensor) -> Kriged:
    fit = _Fit.of(signs, rho)
    values = (fit.weights @ differences[..., None])[..., 0]
    variance = fit.spread(differences)[:, None] * fit.variance(signs, rho, fit.weights)
    return Kriged(values, variance.sqrt(), fit.evidence(differences))


def unbiased(signs: Tensor, differences: Tensor) -> Kriged:
    """The same by the even prior, without bias for any game if the players' order was drawn.

    The coalitions (m, n), that of all the last, are to have up to n / 2 players each, and every
    size from 1 on. Averaged over all orders of the players, weights that add up to none over the
    players tell the value of every game if those of a size s, over the coalitions and who is in
    them, sum to 2, as they do among all coalitions (to 1 for n / 2, which is its own complement).
    The weights of kriging are changed as little as that takes.
    """
    rho = even(signs.shape[1], ROUGH).to(signs.device)
    fit = _Fit.of(signs, rho)
    weights = fit.weights[0] - _bias(signs, fit)
    values = differences @ weights.T
    variance = fit.variance(signs, rho, weights[None])
    return Kriged(
        values,
        (fit.spread(differences)[:, None] * variance).sqrt(),
        fit.evidence(differences),
    )


def _bias(signs: Tensor, fit: _Fit) -> Tensor:
    """(n, m) what is to be taken from the weights, so that each size weighs as it should."""
    n = signs.shape[1]
    inside = (signs.T > 0).double()  # (n, m)
    size = inside.sum(0)
    sizes = torch.arange(1, n // 2 + 1).to(signs)
    of_size = (size == sizes[:, None]).double()  # (s, m)
    ask = of_size[:, None] * (inside - size / n)  # (s, n, m), each summing to 0 over players
    due = torch.where(2 * sizes == n, 1.0, 2.0)
    excess = (ask * fit.weights[0]).sum((1, 2)) - due
    way = ask @ fit.rest[0]
    gram = (ask[:, None] * way).sum((2, 3))
    return torch.einsum("s,snm->nm", torch.linalg.pinv(gram, hermitian=True) @ excess, way)


def kernel(signs: Tensor, rho: Tensor) -> Tensor:
    """(B, m, m): Σ_A ρ_A χ_A(z) χ_A(z'), over sets A of three, five … players.

    Over all odd sets it is (Π(1 + ρ z z') - Π(1 - ρ z z')) / 2 = Π√(1 - ρ²) sinh Σ z z' artanh ρ.
    """
    level = torch.log1p(-rho.square()).sum(1)[:, None, None] / 2
    together = (signs * torch.atanh(rho)[:, None]) @ signs.T
    return level.exp() * together.sinh() - (signs * rho[:, None]) @ signs.T


def crossed(signs: Tensor, rho: Tensor) -> Tensor:
    """(B, n, m): the Shapley values of the kernel at each coalition, 2 Σ_{A ∋ i} ρ_A χ_A(z) / |A|.

    1 / |A| is the integral of t^(|A| - 1), so that the sum over A is one of products over players.
    """
    own = rho[:, None] * signs  # (B, m, n)
    found = -2 * own
    for node, weight in zip(*quadrature(rho.shape[1], NODES), strict=True):
        for way in (node, -node):
            factor = 1 + way * own
            found = found + weight * own * (factor.prod(2, keepdim=True) / factor)
    return found.transpose(1, 2)


def prior(rho: Tensor) -> Tensor:
    """(B, n): the variance of each value before anything is known, 4 Σ_{A ∋ i} ρ_A / |A|²."""
    nodes, weights = quadrature(rho.shape[1], NODES)
    found = -4 * rho
    for first, one in zip(nodes, weights, strict=True):
        for second, two in zip(nodes, weights, strict=True):
            for way in (first * second, -first * second):
                factor = 1 + way * rho
                found = found + 2 * one * two * rho * (factor.prod(1, keepdim=True) / factor)
    return found


@lru_cache(maxsize=32)
def quadrature(players: int, most: int | None = None) -> tuple[list[float], list[float]]:
    """Nodes and weights of Gauss and Legendre on [0, 1], `most` of them.

    They are exact for products over n players, or over twice `most`.
    """
    count = max(1, (players + 1) // 2)
    nodes, weights = np.polynomial.legendre.leggauss(count if most is None else min(most, count))
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()
