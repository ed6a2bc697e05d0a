"""A benchmark from a recipe to its files, stopped and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from xrec.bench.fidelity import bench
from xrec.bench.plan import FLOORS
from xrec.errors import RecipeError
from xrec.recipe import Recipe

GIVEN = {
    "name": "tiny",
    "data": {"dataset": "planted", "users": 60, "items": 100, "events": 8, "history": 5},
    "encoder": "hashed",
    "model": {"name": "sequential", "width": 8, "layers": 1},
    "train": {"epochs": 1},
    "explain": [
        {"name": "integrated_gradients", "steps": 8},
        "saliency",
        {"name": "fast_shapley", "evaluations": 32},  # half of them are too few for a row
    ],
    "fidelity": ["planted_truth", "deletion", "seed_stability"],
    "protocol": {"repeats": 1, "batch": 2},
    "bench": {
        "users": 6,
        "tuning": 5,
        "select": "deletion@remove",
        "seeds": [0, 1],
        "budgets": [0.5, 1],
    },
}


def recipe(**changed: object) -> Recipe:
    return Recipe.of({**GIVEN, **changed})


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def stopped(out: Path) -> int:
    """The cells that were done before the benchmark was stopped."""

    def stop(line: str) -> None:
        if ".test." in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(recipe(), out, stop)
    return len(list(out.glob("tiny/bench-*/stages/*.json")))


@pytest.fixture(scope="module")
def told(out: Path, stopped: int) -> list[str]:
    """What was told as it went on."""
    lines: list[str] = []
    bench(recipe(), out, lines.append)
    return lines


@pytest.fixture(scope="module")
def folder(out: Path, told: list[str]) -> Path:
    return next(out.glob("tiny/bench-*"))


def test_it_goes_on_after_what_was_done(told: list[str], stopped: int, folder: Path) -> None:
    again = [line for line in told if line.startswith("[")]
    assert len(again) == len(list(folder.glob("stages/*.json"))) - stopped
    assert stopped > 10
    assert "left" in again[0]


def test_a_third_time_nothing_is_done(folder: Path, out: Path) -> None:
    before = (folder / "rows.parquet").read_bytes()
    lines: list[str] = []
    assert bench(recipe(), out, lines.append) == folder
    assert not [line for line in lines if line.startswith("[")]
    rows = pl.read_parquet(folder / "rows.parquet")
    assert rows.equals(pl.read_parquet(before))


def test_everyone_is_judged_alike(folder: Path) -> None:
    rows = pl.read_parquet(folder / "rows.parquet")
    test = rows.filter(pl.col("split") == "test", pl.col("draw") == 0)
    count = test.group_by("model", "explainer", "setting").len()
    assert set(count["len"]) == {6}
    assert set(FLOORS) - {"item_cosine"} < set(count["explainer"])
    users = test.group_by("explainer", "model").agg(pl.col("user").unique().sort())
    assert users["user"].n_unique() == 1


def test_no_user_is_chosen_on_and_tested_on(folder: Path) -> None:
    rows = pl.read_parquet(folder / "rows.parquet")
    by_split = {split: set(part["user"]) for (split,), part in rows.group_by("split")}
    assert len(by_split["validate"]) == 5
    assert not by_split["validate"] & by_split["test"]
    chosen_on = rows.filter(split="validate")
    assert set(chosen_on["explainer"]) == {"integrated_gradients"}
    assert chosen_on["planted_precision"].is_null().all()


def test_what_draws_is_drawn_again_and_what_does_not_is_not(folder: Path) -> None:
    rows = pl.read_parquet(folder / "rows.parquet").filter(split="test")
    draws = dict(rows.group_by("explainer").agg(pl.col("draw").n_unique()).iter_rows())
    assert draws["random"] == 2
    assert draws["saliency"] == 1
    random = rows.filter(explainer="random", model=0)
    first, second = (random.filter(draw=at)["deletion@remove"] for at in (0, 1))
    assert not first.equals(second)


def test_what_asks_again_is_asked_of_the_first_model_and_draw(folder: Path) -> None:
    rows = pl.read_parquet(folder / "rows.parquet").filter(split="test", explainer="random")
    known = rows.filter(pl.col("stability_rank").is_not_null())
    assert set(known["model"]) == {0}
    assert set(known["draw"]) == {0}


def test_the_files_tell_what_they_were_made_with(folder: Path) -> None:
    summary = json.loads((folder / "bench.json").read_text())
    assert {"machine", "versions", "commit", "data", "date"} <= set(summary["about"])
    inside = pl.read_parquet_metadata(folder / "rows.parquet")["xrec"]
    assert json.loads(inside) == summary["about"]
    assert set(summary["quality"]) == {"0", "1"}
    assert summary["evaluated"] < summary["asked"]
    gates = summary["explainers"]["saliency"]["gates"]
    assert gates["batch"] == "passed"
    assert summary["explainers"]["saliency"]["chosen"] == ""
    assert summary["minutes"] > 0


def test_every_setting_is_timed(folder: Path) -> None:
    times = pl.read_parquet(folder / "latency.parquet")
    settings = times.filter(explainer="integrated_gradients")["setting"].to_list()
    assert settings == ["steps=4", "steps=8"]
    assert (times["p50"] > 0).all()
    assert (times["peak_bytes"] > 0).all()


def test_a_budget_that_is_too_small_is_left_out_and_told_of(told: list[str], folder: Path) -> None:
    said = [line for line in told if line.startswith("left out: fast_shapley")]
    assert len(said) == 1
    assert "evaluations=16: " in said[0]
    rows = pl.read_parquet(folder / "rows.parquet").filter(explainer="fast_shapley")
    assert set(rows["setting"]) == {"evaluations=32"}
    assert json.loads((folder / "bench.json").read_text())["explainers"]["fast_shapley"][
        "settings"
    ] == ["evaluations=32"]


def test_too_few_users_are_said_to_be(out: Path, folder: Path) -> None:
    few = {**GIVEN["bench"], "users": 100}
    with pytest.raises(RecipeError, match=r"ask for 105 users, and the data have 60: lower them"):
        bench(recipe(bench=few), out)
    assert list(out.glob("tiny/bench-*"))


def test_there_must_be_something_to_compare(out: Path) -> None:
    with pytest.raises(RecipeError, match="list explainers under explain"):
        bench(recipe(explain=[]), out)
