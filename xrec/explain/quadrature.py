"""Integrals along straight paths, each worked out as far as it needs.

A path is cut into panels, and each panel has a nested Clenshaw-Curtis rule. What a gradient
integrates to over a panel is known: the difference of the function at its ends, which are points of
the rule. So a panel's error is not estimated but seen, and only panels that err get more points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

#: Where panels begin and end at first. From baselines on, norms of layers make paths bend early.
CUTS = (0.0, 0.1, 0.3, 1.0)
LAST = 4  # the level that is not raised any more but cut in two: 17 points
HALF = 3  # the level of what was cut

#: The function (N,) and its slope by slots (N, F) at paths (N,) int64 and places (N,) in [0, 1].
Asked = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@lru_cache
def clenshaw_curtis(level: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (2^level + 1,) for integrals over [0, 1], exact to that degree less 1.

    Every second node is one of the level below. The weights are in closed form (Waldvogel, 2006).
    """
    n = 2**level
    angle = np.pi * np.arange(n + 1) / n
    k = np.arange(1, n // 2 + 1)
    share = np.where(k == n // 2, 1, 2) / (4 * k**2 - 1)
    weight = (1 - np.cos(2 * np.outer(angle, k)) @ share) / n
    weight[[0, -1]] /= 2
    return np.sin(angle / 2) ** 2, weight


@dataclass
class Panels:
    """Panels of one level, n of them, of whatever paths.

    path (n,) int64. left, width (n,): where they begin, and how wide they are. said (n, P),
    slope (n, P, F): the function and its slopes at their P points.
    """

    level: int
    path: Tensor
    left: Tensor
    width: Tensor
    said: Tensor
    slope: Tensor

    def integral(self) -> Tensor:
        """(n, F) of each slot's slope."""
        weight = torch.tensor(clenshaw_curtis(self.level)[1]).to(self.slope)
        return torch.einsum("npf,p->nf", self.slope, weight) * self.width[:, None]

    def rows(self, index: Tensor) -> Panels:
        """Some of the panels."""
        parts = (self.path, self.left, self.width, self.said, self.slope)
        return Panels(self.level, *(part[index] for part in parts))

    @property
    def more(self) -> int:
        """The evaluations that refining one panel takes."""
        return 2 ** (self.level if self.level < LAST else HALF + 1) - 2 * (self.level >= LAST)

    def wanted(self) -> Tensor:
        """(n, more) the places where refined panels have points, and these have not."""
        if self.level < LAST:
            nodes = clenshaw_curtis(self.level + 1)[0][1::2]
        else:
            inner = clenshaw_curtis(HALF)[0][1:-1] / 2
            nodes = np.concatenate([inner, inner + 0.5])
        return self.left[:, None] + self.width[:, None] * torch.tensor(nodes).to(self.left)

    def refined(self, said: Tensor, slope: Tensor) -> Panels:
        """A level up, or at the last cut in two, with what was found (n, more, …) where wanted."""
        old, new = (self.said[..., None], self.slope), (said[..., None], slope)
        pairs = zip(old, new, strict=True)
        if self.level < LAST:
            value, slope = (_between(had, found) for had, found in pairs)
            return Panels(self.level + 1, self.path, self.left, self.width, value[..., 0], slope)
        value, slope = (_halves(had, found) for had, found in pairs)
        width = self.width / 2
        left, both = torch.cat([self.left, self.left + width]), torch.cat([width, width])
        return Panels(HALF, self.path.repeat(2), left, both, value[..., 0], slope)


def _between(had: Tensor, found: Tensor) -> Tensor:
    """(n, 2P - 1, F): what was had (n, P, F) with what was found (n, P - 1, F) in between."""
    pairs = torch.stack([had[:, :-1], found], dim=2).flatten(1, 2)
    return torch.cat([pairs, had[:, -1:]], dim=1)


def _halves(had: Tensor, found: Tensor) -> Tensor:
    """(2n, Q, F): ends and middle of what was had, and what was found inside the two halves."""
    first, middle, last = had[:, :1], had[:, [had.shape[1] // 2]], had[:, -1:]
    left, right = found.chunk(2, dim=1)
    return torch.cat(
        [torch.cat([first, left, middle], dim=1), torch.cat([middle, right, last], dim=1)]
    )


@dataclass(frozen=True)
class Integrals:
    """What was found of P paths.

    values (P, F): the slopes' integrals. said, base (P,): the function at the end and the start.
    left_over (P,): the sum over panels of the sizes of their errors. steps (P,) int64: the points.
    """

    values: Tensor
    said: Tensor
    base: Tensor
    left_over: Tensor
    steps: Tensor


def integrate(
    asked: Asked, paths: Tensor, level: int, tolerance: float, precision: float, most: int
) -> Integrals:
    """Integrate along each of `paths` (P,) int64, 0 to P - 1, in double precision.

    A path is done when the sizes of its panels' errors sum to no more than `tolerance`, or to
    `precision` times 1 or what the function is at its ends, or when to go on would take it beyond
    `most` points. level: that of the first panels.
    """
    panels, said, base = _first(asked, paths, level)
    size = torch.maximum(said.abs(), base.abs()).clamp(min=1)
    within = (precision * size).clamp(min=tolerance)
    waiting = [panels]
    values = paths.new_zeros(len(paths), panels.slope.shape[-1], dtype=torch.double)
    left_over = torch.zeros_like(said)
    steps = torch.full_like(paths, len(_places(level)))
    while waiting:
        integrals = [each.integral() for each in waiting]
        gaps = [
            (found.sum(1) - (each.said[:, -1] - each.said[:, 0])).abs()
            for each, found in zip(waiting, integrals, strict=True)
        ]
        settled = _settled(waiting, gaps, left_over, within, steps, most)
        unsettled = []
        for each, found, gap, done in zip(waiting, integrals, gaps, settled, strict=True):
            values.index_add_(0, each.path[done], found[done])
            left_over.index_add_(0, each.path[done], gap[done])
            if not done.all():
                unsettled.append(each.rows(~done))
        waiting = _refined(asked, unsettled, steps)
    return Integrals(values, said, base, left_over, steps)


def _places(level: int) -> np.ndarray:
    """The distinct points of the first panels, from 0 to 1."""
    nodes = clenshaw_curtis(level)[0]
    inner = [a + (b - a) * nodes[1:] for a, b in pairwise(CUTS)]
    return np.concatenate([[0.0], *inner])


def _first(asked: Asked, paths: Tensor, level: int) -> tuple[Panels, Tensor, Tensor]:
    """The first panels of all paths, and the function at their end and their start."""
    places = torch.tensor(_places(level), device=paths.device)
    said, slope = _ask(asked, paths, places.expand(len(paths), -1))
    size, count = 2**level, len(CUTS) - 1
    at = torch.arange(count, device=paths.device)[:, None] * size
    at = at + torch.arange(size + 1, device=paths.device)  # panels share their ends
    cuts = torch.tensor(CUTS, dtype=torch.double, device=paths.device)
    panels = Panels(
        level,
        paths.repeat_interleave(count),
        cuts[:-1].repeat(len(paths)),
        cuts.diff().repeat(len(paths)),
        said[:, at].flatten(0, 1),
        slope[:, at].flatten(0, 1),
    )
    return panels, said[:, -1].clone(), said[:, 0].clone()


def _ask(asked: Asked, path: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """The function (n, m) and its slopes (n, m, F) at m places of each path, in doubles."""
    count = places.shape[1]
    said, slope = asked(path.repeat_interleave(count), places.flatten())
    return said.double().unflatten(0, (-1, count)), slope.double().unflatten(0, (-1, count))


def _settled(
    waiting: Sequence[Panels],
    gaps: Sequence[Tensor],
    left_over: Tensor,
    tolerance: Tensor,
    steps: Tensor,
    most: int,
) -> list[Tensor]:
    """Which panels, of each level, are done with: paths that are, and panels that err by little.

    A panel may err by an even share of what its path has left to err by.
    """
    path, gap = torch.cat([each.path for each in waiting]), torch.cat(list(gaps))
    more = torch.cat([torch.full_like(each.path, each.more) for each in waiting])
    zero = torch.zeros_like(left_over)
    count = zero.index_add(0, path, torch.ones_like(gap))
    within = left_over + zero.index_add(0, path, gap) <= tolerance
    little = gap <= ((tolerance - left_over) / count)[path]
    needed = torch.zeros_like(steps).index_add_(0, path, torch.where(little, 0, more))
    done = (within | (steps + needed > most))[path] | little
    return list(done.split([len(each.path) for each in waiting]))


def _refined(asked: Asked, panels: Sequence[Panels], steps: Tensor) -> list[Panels]:
    """Panels refined, all in one question; those of a level together."""
    if not panels:
        return []
    wanted = [each.wanted() for each in panels]
    path = torch.cat([each.path.repeat_interleave(each.more) for each in panels])
    said, slope = asked(path, torch.cat([each.flatten() for each in wanted]))
    steps.index_add_(0, path, torch.ones_like(path))
    sizes = [each.numel() for each in wanted]
    finer: dict[int, list[Panels]] = {}
    for each, value, grade in zip(panels, said.split(sizes), slope.split(sizes), strict=True):
        shape = (len(each.path), each.more)
        found = each.refined(value.double().unflatten(0, shape), grade.double().unflatten(0, shape))
        finer.setdefault(found.level, []).append(found)
    return [_joined(some) for some in finer.values()]


def _joined(panels: Sequence[Panels]) -> Panels:
    """Panels of one level together."""
    if len(panels) == 1:
        return panels[0]
    names = ("path", "left", "width", "said", "slope")
    parts = (torch.cat([getattr(each, name) for each in panels]) for name in names)
    return Panels(panels[0].level, *parts)
