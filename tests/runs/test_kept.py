"""The weights that training keeps on its way, stopped or not, and what is traced through them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from polars.testing import assert_frame_equal
from safetensors.torch import load_file

from xrec import Recipe, run
from xrec.errors import RunError
from xrec.influence.checkpoint import Checkpoint
from xrec.models.recommender import Recommender
from xrec.plugins import factory
from xrec.runs.kept import FOLDER
from xrec.runs.run import Run

KEPT = ["train.epochs=5", "train.keep=3", "train.patience=9", "train.rates={query: 0.002}"]
TRACED = [
    *KEPT, "explain=[]", "fidelity=[]",
    "influence=[{name: tracin, interactions: 30, top: 2},"
    "{name: influence_functions, interactions: 30, iterations: 8, dimensions: 4}]",
]  # fmt: skip
STEPS = 7  # of an epoch


class Stopped(Exception):
    """What stands for a kill."""


@pytest.fixture(scope="module")
def traced(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(Recipe.load(recipe(tiny_run), TRACED), tmp_path_factory.mktemp("traced"))


def recipe(tiny_run: Run) -> Path:
    return tiny_run.folder.parents[2] / "tiny.yaml"


def files(made: Run) -> dict[str, Path]:
    return {path.name: path for path in (made.folder / FOLDER).iterdir()}


def best(made: Run) -> int:
    epochs = json.loads((made.folder / "training.json").read_text())["epochs"]
    return max(epochs, key=lambda each: (each["val_ndcg@10"], -each["epoch"]))["epoch"]


def test_weights_are_kept_up_to_the_best_epoch_with_their_rates(traced: Run) -> None:
    """Of five epochs three at most: every second."""
    expected = {f"epoch-{epoch}.safetensors" for epoch in (2, 4) if epoch <= best(traced)}
    assert set(files(traced)) == expected
    assert expected, "the world of this test should have its best epoch after the second"
    last = load_file(traced.store.path("weights.safetensors"))
    for path in files(traced).values():
        kept = Checkpoint(path)
        assert path.name == f"epoch-{kept.epoch}.safetensors"
        assert kept.rates["query"] == 0.002
        assert {rate for name, rate in kept.rates.items() if name != "query"} == {0.01}
        weights = kept.weights()
        assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in last.items()}
        same = all(weights[name].equal(value) for name, value in last.items())
        assert same == (kept.epoch == best(traced))


@pytest.mark.parametrize("step", [STEPS + 3, 4 * STEPS + 2, 5 * STEPS])
def test_a_stopped_training_keeps_what_one_that_was_not_keeps(
    traced: Run, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole, steps = Recommender.training_step, []

    def stopping(self: Recommender, *given: object) -> torch.Tensor:
        steps.append(given)
        if len(steps) == step:
            raise Stopped
        return whole(self, *given)

    monkeypatch.setattr(Recommender, "training_step", stopping)
    changed = Recipe.load(recipe(tiny_run), TRACED)
    with pytest.raises(Stopped):
        run(changed, tmp_path)
    assert list(tmp_path.glob(f"tiny/*/{FOLDER}/*.safetensors"))
    found = run(changed, tmp_path)
    assert set(files(found)) == set(files(traced))
    for name, path in files(found).items():
        one, other = Checkpoint(path), Checkpoint(files(traced)[name])
        assert one.rates == other.rates
        assert all(one.weights()[key].equal(value) for key, value in other.weights().items())
    assert_frame_equal(
        found.store.table("influence/tracin.parquet"),
        traced.store.table("influence/tracin.parquet"),
    )


def test_what_was_kept_and_is_gone_is_told(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, steps = Recommender.training_step, []

    def stopping(self: Recommender, *given: object) -> torch.Tensor:
        steps.append(given)
        if len(steps) == 2 * STEPS:
            raise Stopped
        return whole(self, *given)

    monkeypatch.setattr(Recommender, "training_step", stopping)
    with pytest.raises(Stopped):
        run(Recipe.load(recipe(tiny_run), KEPT), tmp_path)
    (path,) = tmp_path.glob(f"tiny/*/{FOLDER}/*.safetensors")
    path.unlink()
    with pytest.raises(RunError, match=r"epoch-1.safetensors.* is gone: remove the run's folder"):
        run(Recipe.load(recipe(tiny_run), KEPT), tmp_path)


def test_by_default_nothing_is_kept_or_traced(tiny_run: Run) -> None:
    assert not (tiny_run.folder / FOLDER).exists()
    assert not (tiny_run.folder / "influence").exists()
    assert "training interactions behind it" not in tiny_run.store.path("report.html").read_text()


def test_the_strongest_interactions_are_written_for_and_against(traced: Run) -> None:
    rows = traced.store.table("influence/tracin.parquet")
    shown = traced.store.table("recommendations.parquet").filter(rank=1).head(2)
    assert rows["row"].unique().sort().to_list() == [0, 1]
    for at in (0, 1):
        one = rows.filter(row=at)
        assert one["user"].unique().to_list() == [shown["user"][at]]
        assert one["item"].unique().to_list() == [shown["item"][at]]
        assert one["speaks"].to_list() == ["for", "for", "against", "against"]
        assert one["place"].to_list() == [1, 2, 1, 2]
        value = one["value"].to_list()
        assert value[0] >= value[1] > 0 > value[3] >= value[2]
    events = traced.data.tables.interactions.select("user", "item", "time")
    named = rows.select(user="by_user", item="by_item", time="time")
    assert len(named.join(events, on=["user", "item", "time"], how="semi")) == len(rows)
    titles = dict(traced.data.tables.items.select("item", "title").iter_rows())
    assert [titles[item] for item in rows["by_item"]] == rows["by_title"].to_list()


def test_the_cost_and_what_was_looked_at_are_written(traced: Run) -> None:
    told = traced.store.json("influence/tracin.json")
    looked, cost = told["looked_at"], told["cost"]
    total = int(traced.data.windows().learned.sum())
    assert looked["of"] == total
    assert looked["drawn"] == 30
    assert 30 < looked["interactions"] <= 30 + 2 * 8
    assert looked["checkpoints"] == sorted(
        Checkpoint(path).epoch for path in files(traced).values()
    )
    gradients = (looked["interactions"] + 2) * len(looked["checkpoints"])
    assert cost["forward"] == cost["backward"] == gradients
    assert cost["seconds"] > 0
    assert told["notes"] == []


def test_the_section_says_it_in_plain_words(traced: Run) -> None:
    chapter = factory("section", "influence")().render(traced)
    rows = traced.store.table("influence/tracin.parquet")
    texts = " ".join(block.text for block in chapter.blocks if hasattr(block, "text"))
    looked = traced.store.json("influence/tracin.json")["looked_at"]
    assert f"By tracin: {looked['interactions']} of {looked['of']} training interactions" in texts
    assert "By influence functions: " in texts
    tables = [block for block in chapter.blocks if hasattr(block, "rows")]
    assert len(tables) == 2 * 2
    first = rows.filter(row=0)
    strongest = first["value"].abs().max()
    for line, row in zip(tables[0].rows, first.iter_rows(named=True), strict=True):
        own = row["by_user"] == row["user"]
        assert line[0] == row["speaks"]
        assert line[1].startswith("their own" if own else f"“{row['by_title']}” of user")
        assert line[3].replace("−", "-").startswith(f"{100 * row['value'] / strongest:.0f}")
    assert chapter.title in traced.store.path("report.html").read_text()


def test_nothing_is_traced_again_without_a_change(traced: Run) -> None:
    said: list[str] = []
    run(traced.recipe, traced.folder.parents[1], said.append)
    assert [line for line in said if not line.endswith("done before")] == []


def test_a_method_listed_twice_or_unknown_is_refused(tiny_run: Run) -> None:
    from xrec.errors import PluginError, RecipeError

    with pytest.raises(RecipeError, match="influence: 'tracin' is listed more than once"):
        Recipe.load(recipe(tiny_run), ["influence=[tracin, tracin]"])
    with pytest.raises(PluginError, match="unknown influence 'tracn': did you mean 'tracin'"):
        Recipe.load(recipe(tiny_run), ["influence=[tracn]"]).check()
    with pytest.raises(RecipeError, match="train: keep is -1, it must be at least 0"):
        Recipe.load(recipe(tiny_run), ["train.keep=-1"])
