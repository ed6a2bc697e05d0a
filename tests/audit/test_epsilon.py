"""The bound on epsilon beside SciPy's intervals, and beside a mechanism whose epsilon is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from xrec.audit.epsilon import at_least, clopper_pearson, lower_bound


@pytest.mark.parametrize(("count", "total"), [(0, 10), (3, 10), (10, 10), (1, 1000)])
def test_intervals_are_scipys_exact_ones(count: int, total: int) -> None:
    expected = binomtest(count, total).proportion_ci(0.95, method="exact")
    low, high = clopper_pearson(count, total, 0.025)
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high))


def test_a_bound_by_hand() -> None:
    low = binomtest(90, 100).proportion_ci(0.95, method="exact").low
    high = binomtest(2, 100).proportion_ci(0.95, method="exact").high
    assert float(at_least(90, 100, 2, 100, 0.1)) == pytest.approx(math.log((low - 0.1) / high))
    assert float(at_least(2, 100, 90, 100, 0.0)) == 0
    assert float(at_least(5, 100, 0, 100, 0.5)) == 0  # all of it may be delta's


def responses(epsilon: float, users: int, seed: int, targets: int = 4):
    """Randomised response (Warner, 1965): the truth with odds of e^epsilon, else its opposite."""
    rng = np.random.default_rng(seed)
    inside = rng.random((targets, users)) < 0.5
    true = rng.random((targets, users)) < math.exp(epsilon) / (1 + math.exp(epsilon))
    return (inside == true).astype(float), inside


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_randomised_response_keeps_what_it_promises(epsilon: float) -> None:
    bounds = [lower_bound(*responses(epsilon, 200, seed), 0.0, seed) for seed in range(100)]
    assert sum(bound > epsilon for bound in bounds) <= 10  # 5 at most are expected
    assert max(bounds) > 0


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_the_bound_is_close_with_many_trials(epsilon: float) -> None:
    bound = lower_bound(*responses(epsilon, 100_000, 0), 0.0)
    assert 0.9 * epsilon < bound <= epsilon


def test_it_finds_a_leak_on_either_side() -> None:
    """Who says little was not in training; who says much may or may not have been."""
    rng = np.random.default_rng(0)
    inside = rng.random((4, 1000)) < 0.5
    said = rng.random((4, 1000))
    said[~inside & (rng.random((4, 1000)) < 0.3)] -= 1
    assert lower_bound(said, inside, 0.0) > 2
    assert lower_bound(-said, ~inside, 0.0) > 2


def test_where_nothing_leaks_the_bound_is_all_but_nothing() -> None:
    bounds = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        inside = rng.random((4, 100)) < 0.5
        bounds.append(lower_bound(rng.normal(size=(4, 100)), inside, 1e-5, seed))
    assert sum(bound > 0 for bound in bounds) <= 7  # 3 at most are expected


def test_a_larger_delta_forgives_more() -> None:
    said, inside = responses(2.0, 5000, 0)
    bounds = [lower_bound(said, inside, delta) for delta in (0.0, 0.1, 0.9)]
    assert bounds[0] > bounds[1] > bounds[2] == 0
