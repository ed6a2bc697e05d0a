"""Choosing a setting: the cheapest that is not worse than the best."""

from __future__ import annotations

import numpy as np
import polars as pl

from xrec.bench.selection import chosen, selected

USERS = 60


def rows(**means: float) -> pl.DataFrame:
    """Scores of one explainer: users differ a lot, settings by their means."""
    rng = np.random.default_rng(0)
    users = rng.normal(0, 5, USERS)
    parts = [
        pl.DataFrame(
            {
                "explainer": ["it"] * USERS,
                "setting": [name] * USERS,
                "model": [0] * USERS,
                "user": [f"u{at}" for at in range(USERS)],
                "score": users + mean + rng.normal(0, 0.2, USERS),
            }
        )
        for name, mean in means.items()
    ]
    return pl.concat(parts)


def test_the_cheapest_that_is_level_with_the_best() -> None:
    found = rows(few=1.0, some=0.0, many=0.0)
    assert selected(found, "score", "lower", ["few", "some", "many"]) == "some"
    assert selected(found, "score", "higher", ["few", "some", "many"]) == "few"


def test_the_best_where_all_others_are_worse() -> None:
    found = rows(few=2.0, some=1.0, many=0.0)
    assert selected(found, "score", "lower", ["few", "some", "many"]) == "many"


def test_models_and_draws_of_a_user_count_once() -> None:
    one = rows(few=1.0, many=0.0)
    twice = pl.concat([one, one.with_columns(model=pl.lit(1, pl.Int64))])
    assert selected(twice, "score", "lower", ["few", "many"]) == "many"


def test_a_measure_that_tells_nothing_leaves_the_largest() -> None:
    none = rows(few=1.0, many=0.0).with_columns(score=pl.lit(None, pl.Float64))
    assert selected(none, "score", "lower", ["few", "many"]) == "many"


def test_users_judged_by_one_setting_alone_are_left_out_of_the_comparison() -> None:
    found = rows(few=1.0, many=0.0)
    found = found.with_columns(
        score=pl.when((pl.col("setting") == "few") & (pl.col("user") < "u3"))
        .then(None)
        .otherwise("score")
    )
    assert selected(found, "score", "lower", ["few", "many"]) == "many"


def test_of_one_setting_there_is_no_choice() -> None:
    found = chosen(rows(few=1.0, many=0.0), "score", "lower", {"it": ["few", "many"], "x": [""]})
    assert found == {"it": "many", "x": ""}
