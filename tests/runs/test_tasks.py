"""Runs that learn several tasks, and one more on the trunk of another run."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

from xrec import Recipe, hookimpl, run
from xrec.errors import RunError
from xrec.explain.target import task
from xrec.runs.run import Run
from xrec_plugins.datasets.planted import PlantedWorld
from xrec_plugins.explainers.integrated_gradients import IntegratedGradients

CLICK = {"name": "click", "loss": "softmax"}
LIKE = {"name": "like", "target": "value", "loss": "bce", "above": 3}


@pytest.fixture(scope="module", autouse=True)
def rated():
    """The planted world, its events rated by what kind of thing they are about."""
    plain = PlantedWorld.load

    def load(self: PlantedWorld):
        tables = plain(self)
        place = pl.col("item").str.slice(1).cast(pl.Int64) % 5
        return tables.replace(
            interactions=tables.interactions.with_columns(value=1.0 + place.cast(pl.Float64))
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlantedWorld, "load", load)
        yield


def _recipe(**keys: object) -> Recipe:
    return Recipe.of(
        {
            "name": "tasks",
            "data": {"dataset": "planted", "users": 60, "items": 100, "events": 8, "history": 8},
            "encoder": {"name": "hashed", "size": 16},
            "model": {"name": "sequential", "width": 16, "layers": 1},
            "train": {"epochs": 4, "batch": 16, "negatives": 8, "lr": 0.02},
            "tasks": [CLICK, "rating"],
            "explain": ["leave_one_out"],
            "fidelity": ["deletion"],
            "protocol": {"users": 4, "points": 3, "repeats": 1, "batch": 2},
            **keys,
        }
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that learned to rank and to rate."""
    return run(_recipe(), tmp_path_factory.mktemp("both"))


def test_each_task_has_its_figures(both: Run):
    found = both.store.json("quality.json")
    assert list(found["tasks"]) == ["rating"]
    rating = found["tasks"]["rating"]
    assert rating["events"] == 60
    queries = both.data.queries("test")
    with torch.no_grad():
        said = both.model.score(both.model.embed(queries), 1)
    truth = queries.label[:, 1]
    assert rating["rmse"] == pytest.approx(float((said - truth).square().mean().sqrt()), rel=1e-5)
    assert rating["mae"] == pytest.approx(float((said - truth).abs().mean()), rel=1e-5)
    guess = both.data.known(1).mean()
    assert rating["mae_of_mean"] == pytest.approx(float((guess - truth).abs().mean()), rel=1e-5)
    epochs = both.store.json("training.json")["epochs"]
    assert {"train_click", "train_rating", "val_rating_loss"} <= set(epochs[0])
    report = (both.folder / "report.html").read_text()
    assert "Task: rating" in report
    assert "always the mean" in report


def test_how_much_a_task_weighs_is_learned(both: Run):
    assert both.model.weighting is not None
    assert both.model.weighting.log_variance.abs().min() > 0


def test_a_rating_is_learned(both: Run):
    """The value follows from the item's place, so that identities can tell it."""
    epochs = both.store.json("training.json")["epochs"]
    assert epochs[-1]["val_rating_loss"] < epochs[0]["val_rating_loss"]


def test_what_is_explained_may_be_one_task(both: Run):
    inputs = both.subject.inputs
    told = IntegratedGradients(steps=50).explain(both.model, inputs, task(1))
    with torch.no_grad():
        said = both.model.score(inputs, 1)
        first = both.model.score(inputs)
    assert torch.allclose(told.score, said)
    assert not torch.allclose(told.score, first)
    assert (told.values.sum(1) - (told.score - told.base)).abs().max() < 0.05


def test_the_shares_of_views_can_be_read_of_each_item(both: Run):
    table = both.store.table("views.parquet")
    assert table.columns == ["item", "title", "text", "identity", "attributes"]
    assert len(table) == 100
    sums = table.select(pl.sum_horizontal("text", "identity", "attributes")).to_series()
    assert (sums - 1).abs().max() < 1e-5
    assert "Of an item's views" in (both.folder / "report.html").read_text().replace("&#39;", "'")


def _adapted(both: Run, **keys: object) -> Recipe:
    return _recipe(
        **{
            "tasks": [CLICK, "rating", LIKE],
            "adapt": {"run": str(both.folder), "task": "like"},
            "train": {"epochs": 3, "batch": 16, "lr": 0.02, "monitor": "val_like_loss"},
            **keys,
        }
    )


def test_a_new_task_has_a_head_on_a_trunk_that_stays(both: Run, tmp_path: Path):
    done = run(_adapted(both), tmp_path)
    old = both.store.tensors("weights.safetensors")
    new = done.store.tensors("weights.safetensors")
    fresh = set(new) - set(old)
    assert fresh == {"heads.2.weight", "heads.2.bias", "heads.2.scale"}
    same = [name for name in old if not name.startswith("weighting.")]
    assert all(torch.equal(old[name], new[name]) for name in same)
    assert not torch.equal(new["heads.2.weight"], torch.full((16,), 16**-0.5))
    epochs = done.store.json("training.json")["epochs"]
    assert epochs[-1]["val_like_loss"] < epochs[0]["val_like_loss"]
    learning = done.store.json("training.json")["learning"]
    assert learning == 17
    ours, theirs = (each.store.json("quality.json") for each in (done, both))
    assert ours["ranking"] == theirs["ranking"]
    assert set(ours["tasks"]) == {"rating", "like"}
    assert 0 <= ours["tasks"]["like"]["auc"] <= 1


def test_an_adaptation_follows_the_weights_it_starts_from(both: Run, tmp_path: Path):
    recipe = _adapted(both)
    done = run(recipe, tmp_path)
    (record,) = [each for each in done.store.records() if each["stage"] == "train"]
    assert str(both.folder / "weights.safetensors") in record["reads"]


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"adapt": {"run": "nowhere", "task": "like"}}, "nowhere is not a run: it has no recipe"),
        (
            {"model": {"name": "sequential", "width": 8, "layers": 1}},
            "has another model: say the same here",
        ),
        (
            {"tasks": ["click", "rating", LIKE]},
            "learned click, rating: list that under tasks, in the same words, and 'like' after it",
        ),
        (
            {"data": {"dataset": "planted", "users": 60, "items": 120, "events": 8, "history": 8}},
            "was trained on other items or users' attributes: give this recipe the same data",
        ),
    ],
)
def test_a_trunk_that_does_not_fit(both: Run, tmp_path: Path, keys: dict, complaint: str):
    with pytest.raises(RunError) as raised:
        run(_adapted(both, **keys), tmp_path)
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_may_learn_ratings_alone(tmp_path: Path):
    recipe = _recipe(
        tasks=["rating"], train={"epochs": 2, "monitor": "val_rating_loss", "lr": 0.02}
    )
    done = run(recipe, tmp_path)
    assert done.store.json("quality.json")["tasks"]["rating"]["events"] == 60


def test_plugins_see_the_terms_of_tasks(both: Run):
    seen = []

    class Watch:
        @hookimpl
        def xrec_loss(self, output):
            seen.append(sorted(output))
            return {}

    from xrec.plugins import new_manager

    model = both.fresh_model()
    model.use(new_manager([Watch()]))
    batch = next(iter(both.data.train_dataloader()))
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    model.training_step(batch, 0)
    assert seen == [["click", "rating"]]
