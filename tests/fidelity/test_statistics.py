"""The bootstrap interval: where it must be, and what it makes of too little."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from xrec.fidelity.statistics import bootstrap, holm, paired


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_covers_the_mean_as_often_as_it_says(draw: str) -> None:
    rng = np.random.default_rng(0)
    trials = 400
    samples = getattr(rng, draw)(size=(trials, 80)) - (draw == "exponential")  # of mean 0
    found = [bootstrap(sample, seed) for seed, sample in enumerate(samples)]
    covered = np.mean([each["low"] <= 0 <= each["high"] for each in found])
    # One standard deviation of the share is 1.1 %; the percentile interval is a little too narrow.
    assert 0.91 <= covered <= 0.98


def test_is_that_of_resampled_means() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=120)
    found = bootstrap(values)
    means = np.random.default_rng(7).choice(values, size=(20_000, 120)).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    assert found["mean"] == pytest.approx(values.mean())
    assert found["low"] == pytest.approx(low, abs=0.02)
    assert found["high"] == pytest.approx(high, abs=0.02)
    assert found["users"] == 120


def test_narrows_with_the_root_of_the_users() -> None:
    rng = np.random.default_rng(2)
    few, many = (bootstrap(rng.normal(size=size)) for size in (100, 1600))
    ratio = (few["high"] - few["low"]) / (many["high"] - many["low"])
    assert ratio == pytest.approx(4, rel=0.25)


def test_is_the_same_for_the_same_seed() -> None:
    values = np.random.default_rng(3).normal(size=50)
    assert bootstrap(values, 1) == bootstrap(values, 1)
    assert bootstrap(values, 1) != bootstrap(values, 2)


def test_does_not_touch_the_global_generator() -> None:
    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    bootstrap(np.arange(10.0))
    assert np.random.rand() == expected


def test_leaves_out_what_is_not_a_number() -> None:
    values = np.random.default_rng(4).normal(size=40)
    holes = np.insert(values, [0, 7, 40], np.nan)
    assert bootstrap(holes) == bootstrap(values)
    assert bootstrap(holes)["users"] == 40


@pytest.mark.parametrize("values", [[], [math.nan, math.nan]])
def test_of_nothing_nothing_is_known(values: list[float]) -> None:
    found = bootstrap(np.array(values, dtype=float))
    assert found["users"] == 0
    assert all(math.isnan(found[key]) for key in ("mean", "low", "high"))


@pytest.mark.parametrize(("values", "users"), [([2.5], 1), ([2.5] * 9, 9), ([2.5, math.nan], 1)])
def test_what_never_varies_has_no_width(values: list[float], users: int) -> None:
    found = bootstrap(np.array(values))
    assert found == {"mean": 2.5, "low": 2.5, "high": 2.5, "users": users}


def test_paired_differences_are_of_the_same_users() -> None:
    rng = np.random.default_rng(0)
    users = rng.normal(0, 5, 300)  # users differ much more than explainers
    found = paired(users + rng.normal(0.2, 0.5, 300), users)
    assert 0.1 < found["low"] < found["gap"] < found["high"] < 0.3
    assert found["p"] < 0.001


def test_p_values_are_even_where_nothing_differs() -> None:
    rng = np.random.default_rng(1)
    found = [paired(rng.normal(size=60), rng.normal(size=60))["p"] for _ in range(200)]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_paired_leaves_out_those_not_judged_by_both() -> None:
    found = paired(np.array([1.0, np.nan, 3.0]), np.array([0.0, 5.0, np.nan]))
    assert found["gap"] == 1
    assert np.isnan(paired(np.array([np.nan]), np.array([1.0]))["p"])


def test_holm_by_hand_and_against_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    found = holm([0.5, float("nan"), 0.001])
    assert found[0] == 0.5
    assert np.isnan(found[1])
    assert found[2] == 0.002
