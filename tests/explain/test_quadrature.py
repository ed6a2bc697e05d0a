"""Nested rules against numpy's polynomials, and paths whose integrals are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from xrec.explain.quadrature import Integrals, clenshaw_curtis, integrate


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5, 6])
def test_rules_are_exact_for_polynomials(level: int) -> None:
    nodes, weights = clenshaw_curtis(level)
    generator = np.random.default_rng(level)
    for degree in range(2**level + 1):
        poly = np.polynomial.Polynomial(generator.standard_normal(degree + 1))
        exact = poly.integ()(1) - poly.integ()(0)
        assert poly(nodes) @ weights == pytest.approx(exact, abs=1e-12)
    assert (weights > 0).all()


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_every_second_node_is_one_of_the_level_below(level: int) -> None:
    assert np.allclose(clenshaw_curtis(level + 1)[0][::2], clenshaw_curtis(level)[0], atol=1e-15)


class Bends:
    """f(t) = Σ_k atan((t - c_k) / w) for each path, slope by slot k: bends as sharp as w."""

    def __init__(self, widths: list[float], centres: tuple[float, ...] = (0.21, 0.74)) -> None:
        self.width = torch.tensor(widths, dtype=torch.double)
        self.centres = torch.tensor(centres, dtype=torch.double)
        self.seen: list[tuple[int, float]] = []

    def each(self, path: Tensor, place: Tensor) -> Tensor:
        return torch.atan((place[:, None] - self.centres) / self.width[path][:, None])

    def __call__(self, path: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += list(zip(path.tolist(), place.tolist(), strict=True))
        width = self.width[path][:, None]
        slope = width / (width**2 + (place[:, None] - self.centres) ** 2)
        return self.each(path, place).sum(1), slope

    def exact(self) -> Tensor:
        paths = torch.arange(len(self.width))
        ones = torch.ones(len(paths), dtype=torch.double)
        return self.each(paths, ones) - self.each(paths, 0 * ones)

    def integrals(self, tolerance: float, most: int = 2000, level: int = 2) -> Integrals:
        paths = torch.arange(len(self.width))
        return integrate(self, paths, level, tolerance, 1e-15, most)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-9])
@pytest.mark.parametrize("level", [2, 3])
def test_integrals_in_closed_form(tolerance: float, level: int) -> None:
    bends = Bends([1.0, 0.1, 0.01, 0.003])
    found = bends.integrals(tolerance, level=level)
    assert found.left_over.max() <= tolerance
    gap = (found.values.sum(1) - (found.said - found.base)).abs()
    assert (gap <= found.left_over + 1e-12).all()
    # The errors of slots may cancel in the sum, so that each of them may be somewhat larger.
    assert torch.allclose(found.values, bends.exact(), atol=10 * tolerance)


def test_an_easy_path_stops_early_while_a_hard_one_goes_on() -> None:
    steps = Bends([3.0, 0.1, 0.003]).integrals(1e-8).steps.tolist()
    assert steps == sorted(steps)
    assert steps[0] <= 49
    assert steps[2] > 4 * steps[0]


def test_steps_are_the_points_asked_for_and_none_is_asked_for_twice() -> None:
    bends = Bends([0.5, 0.02, 0.004])
    found = bends.integrals(1e-9)
    assert len(bends.seen) == int(found.steps.sum())
    distinct = {(path, round(place, 12)) for path, place in bends.seen}
    assert len(distinct) == len(bends.seen)
    for path, steps in enumerate(found.steps.tolist()):
        assert sum(path == one for one, _ in bends.seen) == steps


def test_paths_do_not_hear_of_each_other() -> None:
    widths = [0.5, 0.02, 0.004]
    together = Bends(widths).integrals(1e-6)
    for path, width in enumerate(widths):
        alone = Bends([width]).integrals(1e-6)
        assert torch.equal(alone.values[0], together.values[path])
        assert alone.steps[0] == together.steps[path]


def test_where_steps_do_not_do_what_is_left_is_told() -> None:
    found = Bends([1.0, 1e-3]).integrals(1e-8, most=40)
    assert found.steps.max() <= 40
    assert found.left_over[0] <= 1e-8
    assert found.left_over[1] > 1e-2


def test_what_is_no_number_ends() -> None:
    def broken(path: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(place, torch.nan), torch.full((len(place), 2), torch.nan)

    found = integrate(broken, torch.arange(2), 2, 1e-3, 1e-15, 100)
    assert found.values.isnan().all()
    assert found.steps.max() <= 100
