"""How well an attack does, beside scikit-learn's curves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from xrec.audit.outcome import areas, found, outcome


def answers(seed: int, shift: float, shape: tuple[int, int] = (4, 300)):
    rng = np.random.default_rng(seed)
    inside = rng.random(shape) < 0.5
    return np.round(rng.normal(size=shape) + shift * inside, 1), inside  # rounded, so that some tie


def test_areas_are_those_of_scikit_learn() -> None:
    said, inside = answers(0, 0.7)
    expected = [roc_auc_score(true, each) for each, true in zip(said, inside, strict=True)]
    assert areas(said, inside)[0] == pytest.approx(expected)
    assert outcome(said, inside)["auc"]["mean"] == pytest.approx(np.mean(expected))


def test_a_user_who_counts_twice_is_there_twice() -> None:
    said, inside = answers(0, 0.7)
    drawn = np.random.default_rng(0).integers(300, size=300)
    again = areas(said[:, drawn], inside[:, drawn])
    assert areas(said, inside, np.bincount(drawn, minlength=300)[None]) == pytest.approx(again)


def test_without_both_sides_there_is_no_area() -> None:
    assert np.isnan(areas(np.zeros((2, 3)), np.array([[True] * 3, [False] * 3]))).all()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_found_is_the_curve_at_the_alarms_allowed(share: float) -> None:
    said, inside = answers(1, 1.0)
    alarms, hits, _ = roc_curve(inside.ravel(), said.ravel(), drop_intermediate=False)
    expected = hits[alarms <= share].max()
    assert found(said[inside], said[~inside], share) == pytest.approx(expected)


def test_where_no_alarm_is_as_rare_nothing_is_said() -> None:
    told = outcome(*answers(2, 1.0))
    assert told["members"] + told["others"] == 1200
    assert told["tpr"]["0.001"] is None
    assert told["tpr"]["0.01"] > 0.01


def test_the_interval_holds_the_mean_and_narrows_with_users() -> None:
    few, many = (outcome(*answers(3, 0.5, (4, users)))["auc"] for users in (50, 800))
    for told in (few, many):
        assert told["low"] < told["mean"] < told["high"]
    assert many["high"] - many["low"] < (few["high"] - few["low"]) / 2


def test_an_interval_of_nothing_is_right_as_often_as_it_says() -> None:
    told = [outcome(*answers(seed, 0.0, (2, 60)))["auc"] for seed in range(60)]
    right = sum(each["low"] <= 0.5 <= each["high"] for each in told)
    assert right >= 50  # 57 of 60 are expected; below 51 comes once in 100
