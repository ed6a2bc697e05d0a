"""A search finds the best options, goes on after a kill, and prunes what does badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import TINY

from xrec import Recipe, run
from xrec.errors import RecipeError, RunError
from xrec.models.recommender import Recommender

pytest.importorskip("optuna")
from xrec.tune import search
from xrec.tune.search import tune

SPACE = (
    "tune: {trials: 3, space: {train.lr: {low: 1e-3, high: 1e-1, log: true}, "
    "model.width: {choices: [8, 16]}, model.layers: {low: 1, high: 2}}}\n"
)
COMMAND = [sys.executable, "-c", "from xrec.cli import main; main()", "tune"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY + SPACE)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> search.Found:
    """A search of three trials that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.yaml").write_text(TINY + SPACE)
    return tune(Recipe.load(folder / "tiny.yaml"), folder / "runs")


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch):
    """Training that fits nothing, and a validation metric that is what the test says it is."""

    def set_up(metric, mrr: float = 0.5) -> None:
        def log(model: Recommender) -> None:
            value = metric(model.options.lr, model.trainer.current_epoch)
            model.log_dict({"val_ndcg@10": torch.tensor(value), "val_mrr": mrr})

        monkeypatch.setattr(Recommender, "on_validation_epoch_end", log)

    return set_up


def start(recipe: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, str(recipe), "--runs", str(out)],
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop_in_second_trial(recipe: Path, out: Path, sent: signal.Signals) -> tuple[int, str]:
    process, trial = start(recipe, out), 0
    assert process.stdout is not None
    for line in process.stdout:
        trial += line.startswith("trial ")
        if trial == 2 and line.startswith("  epoch 1"):
            process.send_signal(sent)
            break
    _, err = process.communicate()
    return process.returncode, err


def test_goes_on_after_a_kill(recipe: Path, tmp_path: Path, whole) -> None:
    code, _ = stop_in_second_trial(recipe, tmp_path / "runs", signal.SIGKILL)
    assert code == -9
    (journal,) = tmp_path.rglob(search.JOURNAL)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')  # as if killed in the middle of a line
    said: list[str] = []
    found = tune(Recipe.load(recipe), tmp_path / "runs", tell=said.append)
    trials = [line for line in said if line.startswith("trial")]
    assert [line.split()[1] for line in trials] == ["2/3", "3/3"]  # the first is not repeated
    assert "data: done before" in said
    assert [trial.values for trial in found.outcomes] == [t.values for t in whole.outcomes]
    assert [trial.value for trial in found.outcomes] == pytest.approx(
        [trial.value for trial in whole.outcomes], abs=1e-6
    )
    assert found.best == whole.best


def test_ctrl_c_says_how_to_go_on(recipe: Path, tmp_path: Path) -> None:
    code, err = stop_in_second_trial(recipe, tmp_path / "runs", signal.SIGINT)
    assert (code, err) == (130, "xrec: stopped; start the same command again to go on\n")
    (journal,) = tmp_path.rglob(search.JOURNAL)
    begun = [line for line in journal.read_text().splitlines() if '"op_code":4' in line]
    assert len(begun) == 2


def test_a_finished_search_does_nothing_and_more_trials_add_to_it(whole) -> None:
    recipe, out = Recipe.load(whole.folder.parents[2] / "tiny.yaml"), whole.folder.parents[1]
    said: list[str] = []
    assert tune(recipe, out, tell=said.append) == whole
    assert not [line for line in said if line.startswith("trial")]


def test_what_is_left_behind_is_text(whole) -> None:
    lines = (whole.folder / search.JOURNAL).read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    summary = json.loads((whole.folder / search.SUMMARY).read_text())
    assert [trial["value"] for trial in summary["outcomes"]] == [t.value for t in whole.outcomes]
    names = {path.name for path in whole.folder.rglob("*") if path.is_file()}
    assert not {"quality.json", "ranks.parquet", "weights.safetensors"} & names  # nothing is tested


def test_best_is_a_recipe_that_runs_to_the_same_metric(whole, tmp_path: Path) -> None:
    best = Recipe.load(whole.folder / search.BEST)
    outcome = max(whole.outcomes, key=lambda trial: trial.value)
    assert outcome is whole.outcomes[whole.best]
    assert best.tune is None
    assert best.changed(outcome.values).resolved == best.resolved
    epochs = run(best, tmp_path / "runs").store.json("training.json")["epochs"]
    assert max(epoch["val_ndcg@10"] for epoch in epochs) == pytest.approx(outcome.value, abs=1e-6)


def prunable(**tune: object) -> Recipe:
    given = {
        "name": "tiny",
        "data": {"dataset": "planted", "users": 20, "items": 100, "events": 6, "history": 4},
        "encoder": {"name": "hashed", "size": 4},
        "model": {"name": "sequential", "width": 4, "layers": 1},
        "train": {"epochs": 4, "patience": 4, "negatives": 2},
        "tune": {"space": {"train.lr": {"low": 1e-6, "high": 1.0}}, **tune},
    }
    return Recipe.of(given)


def test_pruning_stops_what_does_badly(scripted, tmp_path: Path) -> None:
    """The metric is the learning rate: below the median of the trials before, a trial stops."""
    seen: list[tuple[float, int]] = []

    def metric(lr: float, epoch: int) -> float:
        seen.append((lr, epoch))
        return lr

    scripted(metric)
    found = tune(prunable(startup=3, sampler="random"), tmp_path, 12)
    assert len(found.outcomes) == 12
    finished: list[float] = []
    for at, trial in enumerate(found.outcomes):
        lr = trial.values["train.lr"]
        bad = at >= 3 and lr < float(torch.tensor(sorted(finished)).quantile(0.5))
        assert trial.state == ("pruned" if bad else "complete")
        assert max(epoch for rate, epoch in seen if rate == lr) == (0 if bad else 3)
        assert trial.said == ("pruned after epoch 1" if bad else "")
        finished += [] if bad else [lr]
    assert {trial.state for trial in found.outcomes} == {"pruned", "complete"}
    assert found.outcomes[found.best].value == pytest.approx(max(finished))


def test_drawing_follows_the_seed(scripted, tmp_path: Path) -> None:
    scripted(lambda lr, epoch: lr)

    def drawn(seed: int, name: str) -> list[dict]:
        recipe = Recipe.of({**prunable(startup=2).resolved, "seed": seed, "train": {"epochs": 1}})
        return [dict(trial.values) for trial in tune(recipe, tmp_path / name, 4).outcomes]

    one = drawn(1, "one")
    assert one == drawn(1, "again")
    assert one != drawn(2, "two")
    assert len({tuple(values.items()) for values in one}) == 4


def test_without_a_pruner_all_are_completed(scripted, tmp_path: Path) -> None:
    scripted(lambda lr, epoch: lr)
    found = tune(prunable(startup=1, pruner="none", sampler="random"), tmp_path, 4)
    assert {trial.state for trial in found.outcomes} == {"complete"}


def test_tpe_seeks_where_it_was_good(scripted, tmp_path: Path) -> None:
    scripted(lambda lr, epoch: -((lr - 0.7) ** 2))
    recipe = prunable(startup=5, pruner="none").changed({"train.epochs": 1})
    found = tune(recipe, tmp_path, 16)
    distance = [abs(trial.values["train.lr"] - 0.7) for trial in found.outcomes]
    assert sum(distance[10:]) / 6 < sum(distance[:5]) / 5 / 2


def test_a_failing_trial_is_noted_and_the_search_goes_on(scripted, tmp_path: Path) -> None:
    def metric(lr: float, epoch: int) -> float:
        if lr < 0.5:
            raise RunError("the loss is no longer a number")
        return lr

    scripted(metric)
    found = tune(prunable(pruner="none", sampler="random"), tmp_path, 6)
    for trial in found.outcomes:
        low = trial.values["train.lr"] < 0.5
        assert trial.state == ("failed" if low else "complete")
        assert trial.said == ("the loss is no longer a number" if low else "")
    assert len(found.outcomes) == 6
    assert {trial.state for trial in found.outcomes} == {"failed", "complete"}


def test_options_that_do_not_go_together_fail_their_trial(scripted, tmp_path: Path) -> None:
    scripted(lambda lr, epoch: lr)
    recipe = prunable(sampler="random")
    space = {"model.width": {"choices": [4, 9]}, "model.heads": {"choices": [2, 3]}}
    recipe = Recipe.of({**recipe.resolved, "tune": {"space": space, "sampler": "random"}})
    found = tune(recipe.changed({"train.epochs": 1}), tmp_path, 8)
    for trial in found.outcomes:
        fits = trial.values["model.width"] % trial.values["model.heads"] == 0
        assert trial.state == ("complete" if fits else "failed")
        assert fits or "must be a multiple of heads" in trial.said
    assert {trial.state for trial in found.outcomes} == {"failed", "complete"}


def test_a_metric_that_is_no_number_fails(scripted, tmp_path: Path) -> None:
    scripted(lambda lr, epoch: lr, mrr=float("nan"))
    recipe = prunable(metric="val_mrr").changed({"train.epochs": 1})
    with pytest.raises(RunError, match=r"none of the 2 trials of .* was completed, so none"):
        tune(recipe, tmp_path, 2)


def test_a_metric_that_is_not_measured(scripted, tmp_path: Path) -> None:
    recipe = prunable(metric="val_ndcg@5")
    with pytest.raises(RecipeError, match=r"tune.metric: nothing called 'val_ndcg@5'.*ndcg@10"):
        tune(recipe, tmp_path, 2)


def test_importances_come_with_enough_trials(scripted, tmp_path: Path) -> None:
    scripted(lambda lr, epoch: lr)
    base = prunable()
    space = {
        "train.lr": {"low": 1e-6, "high": 1.0},
        "train.weight_decay": {"low": 0.0, "high": 1.0},
    }
    tuned = {"space": space, "pruner": "none", "sampler": "random"}
    recipe = Recipe.of({**base.resolved, "tune": tuned}).changed({"train.epochs": 1})
    assert tune(recipe, tmp_path, search.ENOUGH - 1).importances == {}
    shares = tune(recipe, tmp_path, 20).importances
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["train.lr"] > shares["train.weight_decay"]


def test_one_process_at_a_time(recipe: Path, whole) -> None:
    from xrec.runs.store import Store

    with Store(whole.folder).alone(), pytest.raises(RunError, match="another process is at work"):
        tune(Recipe.load(recipe), whole.folder.parents[1])


def test_changed_data_are_refused(recipe: Path, whole, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(whole.folder.parents[1], tmp_path / "runs")
    (folder,) = (tmp_path / "runs" / "tiny").iterdir()
    journal = folder / search.JOURNAL
    lines = journal.read_text().splitlines()
    lines[1] = lines[1].replace('"data":"', '"data":"0')
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match=r"the data have changed since the search .* began: remove"):
        tune(Recipe.load(recipe), tmp_path / "runs")


def test_the_command_shows_the_trials_and_the_best(xrec, whole) -> None:
    out_folder = whole.folder.parents[1]
    code, out, err = xrec("tune", whole.folder.parents[2] / "tiny.yaml", "--runs", out_folder)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[-1] == f"best: xrec run {whole.folder / search.BEST}"
    rows = {line.split()[0]: line.split()[1:] for line in lines[-4:-1]}
    assert list(rows) == ["1", "2", "3"]
    assert rows[str(whole.best + 1)][0] == "*"
    assert not list(whole.folder.rglob("*.partial"))


def test_a_missing_extra(xrec, recipe: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "xrec.tune.search")
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delattr(sys.modules["xrec.tune"], "search")
    code, _, err = xrec("tune", recipe, "--runs", tmp_path / "runs")
    assert (code, err) == (
        2,
        "xrec: xrec tune needs the package optuna: pip install 'xrec[optuna]'\n",
    )
    assert not (tmp_path / "runs").exists()
