"""Local differential privacy: the odds of each report, the noise, and what is left of the data."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from chapters import blocks, rendered, words
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xrec import Recipe, run
from xrec.errors import DataError, RecipeError
from xrec.report.section import Table, Terms
from xrec.report.words import percent
from xrec.runs.run import Run
from xrec.testing import small_data
from xrec_plugins.privacy.chance import laplace, uniform
from xrec_plugins.privacy.local_dp import LocalDP, Response


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5000), st.floats(0.01, 20))
def test_no_report_is_likelier_by_more_than_epsilon(items: int, epsilon: float) -> None:
    response = Response(items, epsilon)
    assert response.kept + (items - 1) * response.other == pytest.approx(1)
    assert math.log(response.kept / response.other) == pytest.approx(epsilon, rel=1e-6)


def test_reports_come_with_their_odds() -> None:
    response = Response(5, 1.0)
    found = np.bincount(response.reported(np.full(20000, 2), seed=0), minlength=5)
    odds = np.full(5, response.other)
    odds[2] = response.kept
    assert stats.chisquare(found, 20000 * odds).pvalue > 1e-4


def test_counts_are_unbiased_and_add_up() -> None:
    truth = np.repeat(np.arange(4), [700, 200, 100, 0])
    response = Response(4, 1.5)
    found = np.stack([response.counted(response.reported(truth, seed)) for seed in range(200)])
    assert np.allclose(found.sum(1), 1000)
    error = found.std(0) / math.sqrt(len(found))
    assert (np.abs(found.mean(0) - [700, 200, 100, 0]) < 5 * error).all()


def test_noise_is_laplace_s() -> None:
    found = laplace(20000, 2.0, seed=0)
    assert stats.kstest(found, stats.laplace(scale=2).cdf).pvalue > 1e-4


def test_chance_is_even_and_without_a_seed_never_the_same() -> None:
    assert stats.kstest(uniform(20000), "uniform").pvalue > 1e-6
    assert not np.array_equal(uniform(10), uniform(10))
    assert np.array_equal(uniform(10, 3), uniform(10, 3))


def recipe(**options) -> Recipe:
    mechanism = {"name": "local_dp", **options}
    given = {"name": "it", "data": {"dataset": "planted"}, "model": "sequential"}
    return Recipe.of({**given, "privacy": [mechanism]})


def randomised(**options) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events of a small world before and after."""
    tables = small_data(users=40).tables
    (mechanism,) = recipe(**options).check()["privacy"]
    found = mechanism.xrec_tables(tables, recipe(**options)).check("it")
    return tables.interactions.sort("user", "time"), found.interactions


def test_the_latest_events_are_reported_and_no_other_is_stored() -> None:
    before, after = randomised(epsilon=1, events=3, seed=0)
    latest = before.group_by("user", maintain_order=True).tail(3)
    assert after.select("user", "time", "action").equals(latest.select("user", "time", "action"))
    assert not after["item"].equals(latest["item"])
    assert after["value"].null_count() == len(after)


def test_with_much_epsilon_little_changes_and_with_little_all_does() -> None:
    before, after = randomised(epsilon=1000, events=50, values=[0, 2])
    assert after["item"].equals(before["item"])
    assert np.allclose(after["value"], before["value"], atol=5)
    _, after = randomised(epsilon=1e-3, events=50, seed=0)
    assert (after["item"] == before["item"]).mean() < 0.2


def test_values_are_cut_off_before_noise() -> None:
    _, after = randomised(epsilon=1e7, events=50, values=[0, 0.5])
    assert np.allclose(after["value"], 0.5, atol=1e-3)


def test_spared_events_are_as_they_were() -> None:
    before, after = randomised(epsilon=1e-3, events=50, spared=2, seed=0)
    tail = [each.group_by("user", maintain_order=True).tail(2) for each in (before, after)]
    assert tail[0].equals(tail[1])


def test_a_run_tells_its_accounting_and_estimates(tiny_recipe, tmp_path) -> None:
    own = Recipe.load(tiny_recipe).resolved
    mechanism = {"name": "local_dp", "epsilon": 40, "events": 8, "spared": 2}
    done = run(Recipe.of({**own, "privacy": [mechanism]}), tmp_path)
    told = done.store.json("privacy/local_dp.json")
    assert (told["epsilon"], told["delta"], told["epsilon_item"]) == (40, 0, 5)
    assert told["kept"] == pytest.approx(math.exp(5) / (math.exp(5) + 99))
    assert "the latest 2 events of each user" in dict(told["not_covered"])
    assert not told["repeatable"]
    table = done.store.table("privacy/local_dp.parquet")
    assert table["estimate"].sum() == pytest.approx(told["reports"])
    chapter = rendered("privacy", done)
    assert chapter.title in (done.folder / "report.html").read_text()
    said = words(chapter)
    assert "epsilon is 40." in said
    assert f"with a chance of {percent(told['kept'], 1)}" in said
    assert "drawn by a seed" not in said
    (table_,) = blocks(chapter, Table)
    assert ("events reported", f"{told['reports']:,}") in table_.rows
    covers, leaves = blocks(chapter, Terms)
    assert dict(covers.pairs) == {"items": "which ones a user had"}
    assert "the latest 2 events of each user" in dict(leaves.pairs)
    again = run(done.recipe, tmp_path)
    assert again.store.table("data/interactions.parquet").equals(
        done.store.table("data/interactions.parquet")
    )


def test_the_report_tells_of_noise_on_values_and_of_a_seed(tmp_path) -> None:
    made = LocalDP(events=4, values=[1, 5], seed=1)
    told = made._told(Response(100, made.for_item), 24)
    assert told["value_scale"] == pytest.approx(4 / (8 / 4 * 0.25))
    asked = Run(recipe(events=4, values=[1, 5], seed=1), tmp_path)
    asked.store.write_json("privacy/local_dp.json", told)
    chapter = rendered("privacy", asked)
    (table,) = blocks(chapter, Table)
    assert ("scale of the noise on a value", "8") in table.rows
    assert "drawn by a seed" in words(chapter)
    assert ("values", "of their events") in blocks(chapter, Terms)[0].pairs


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epsilon": 0}, "privacy[0]: epsilon is 0.0, it must be above 0"),
        ({"events": 0}, "privacy[0]: events must be at least 1"),
        ({"values": [5, 1]}, "privacy[0]: values is [5.0, 1.0], it must be a lowest and"),
        ({"values": [5]}, "privacy[0]: values is [5.0], it must be a lowest and"),
        ({"share": 1}, "privacy[0]: share is 1.0, it must be between 0 and 1"),
    ],
)
def test_a_bad_option_is_named(options: dict, sentence: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe(**options).check()
    assert str(error.value).startswith(sentence)


def test_an_event_of_no_item_is_refused_without_telling_whose() -> None:
    tables = small_data().tables
    fewer = tables.replace(items=tables.items.head(3))
    with pytest.raises(DataError, match="items that the catalogue does not have") as error:
        LocalDP().xrec_tables(fewer, recipe())
    assert "u1" not in str(error.value)
