"""A game whose Shapley values are known: a sum of products over the players who are in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xrec.explain.kriging import quadrature

AT_ONCE = 8  # nodes of the quadrature


@dataclass(frozen=True)
class ProductGame:
    """v(S) = Σ_r share_r Π_{i ∈ S} (1 + weight_ir), for each of B rows.

    weight (B, F, R): of each slot, 0 where it is no player. share (B, R). A ratio, such as that of
    an attention's average, is an integral of such products, and a game of pairs a few of them.
    """

    weight: Tensor
    share: Tensor

    def value(self, coalitions: Tensor) -> Tensor:
        """(B, C) values of coalitions (B, C, F)."""
        factor = torch.where(coalitions[..., None], 1 + self.weight[:, None], 1.0)
        return (factor.prod(2) * self.share[:, None]).sum(-1)

    def differences(self, coalitions: Tensor) -> Tensor:
        """(B, C) half of what coalitions (B, C, F) are worth more than their complements."""
        return (self.value(coalitions) - self.value(~coalitions)) / 2

    def shapley(self, most: int) -> Tensor:
        """(B, F) Shapley values, where rows have up to `most` players.

        By the multilinear extension (Owen, 1972): the integral over t from 0 to 1 of what a player
        adds where all others are in with probability t. Of products, it is that of a polynomial.
        """
        nodes, weights = (self.share.new_tensor(each) for each in quadrature(most))
        found = torch.zeros_like(self.weight[..., 0])
        for node, weight in zip(nodes.split(AT_ONCE), weights.split(AT_ONCE), strict=True):
            slots = self.weight.unbind(1)
            factors = [1 + node[:, None, None] * slot for slot in slots]  # each (T, B, R)
            after = [weight[:, None, None] * self.share]
            for factor in reversed(factors[1:]):
                after.append(after[-1] * factor)
            before, each = torch.ones_like(after[0]), []
            for slot, factor, rest in zip(slots, factors, reversed(after), strict=True):
                each.append(((before * rest).sum(0) * slot).sum(-1))
                before = before * factor
            found = found + torch.stack(each, dim=1)
        return found
