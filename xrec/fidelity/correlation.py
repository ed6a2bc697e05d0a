"""How far two explanations agree: in the order of their features, and in those that come first.

All compare (B, F) with (B, F), row by row, among the slots (B, F) bool that count.
"""

from __future__ import annotations

import torch
from torch import Tensor

SLIGHT = 1e-5  # of the largest: single precision, after sums over many evaluations


def spearman(told: Tensor, other: Tensor, among: Tensor) -> Tensor:
    """(B,) Spearman's rank correlation, double, with sign; ties share their average rank.

    NaN for fewer than two slots, where all slots of either are the same, and where one is NaN.
    """
    one, two = (_ranks(values, among) for values in (told, other))
    return (one * two).sum(1) / ((one**2).sum(1) * (two**2).sum(1)).sqrt()


def settled(values: Tensor) -> Tensor:
    """Values (B, F) in which those that only rounding parts from 0 are 0, and so tie.

    That is the ones below a hundred-thousandth of the row's largest by size.
    """
    size = values.abs()
    return torch.where(size < SLIGHT * size.amax(1, keepdim=True), 0, values)


def likeness(told: Tensor, other: Tensor, among: Tensor) -> Tensor:
    """(B,) Spearman's correlation where an explanation may have become, or have been, constant.

    Two constants are as alike as can be, 1; a constant and an order have nothing in common, 0. NaN
    for fewer than two slots alone.
    """
    constant = [_constant(values, among) for values in (told, other)]
    found = spearman(told, other, among)
    found = torch.where(constant[0] | constant[1], (constant[0] & constant[1]).to(found), found)
    return torch.where(among.sum(1) > 1, found, torch.nan)


def overlap(told: Tensor, other: Tensor, among: Tensor, k: int) -> Tensor:
    """(B,) the share of the k largest by size, or of all where fewer, that both have; double.

    Ties go to the lower slot. NaN where there is no slot.
    """
    one, two = (_first(values, among, k) for values in (told, other))
    return (one & two).sum(1).double() / one.sum(1)


def _ranks(values: Tensor, among: Tensor) -> Tensor:
    """(B, F) double: average ranks, less their mean; 0 for slots that do not count."""
    count = among.sum(1, keepdim=True)
    values = torch.where(among, values.double(), torch.inf).contiguous()
    order = values.sort(dim=1).values
    below = torch.searchsorted(order, values)
    upto = torch.searchsorted(order, values, right=True).clamp(max=count)  # what does not count
    rank = (below + upto - count).double() / 2
    unknown = (among & values.isnan()).any(1, keepdim=True)
    return torch.where(unknown, torch.nan, torch.where(among, rank, 0))


def _constant(values: Tensor, among: Tensor) -> Tensor:
    """(B,) bool: whether all slots that count have the same value."""
    least, most = (
        torch.where(among, values, fill).aminmax(dim=1) for fill in (torch.inf, -torch.inf)
    )
    return least.min == most.max


def _first(values: Tensor, among: Tensor, k: int) -> Tensor:
    """(B, F) bool: the k slots of the largest values by size, fewer where fewer count."""
    size = torch.where(among, values.abs(), -1)
    place = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (place < k) & among
