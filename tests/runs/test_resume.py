"""A run that is killed goes on where it was, and ends with the numbers of one that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from conftest import TINY
from polars.testing import assert_frame_equal
from safetensors.torch import load_file

from xrec.runs.store import Store

COMMAND = [sys.executable, "-c", "from xrec.cli import main; main()", "run"]


KILLED_AT_A_STEP = """
import os, signal
from xrec.cli import main
from xrec.models.recommender import Recommender

whole, steps = Recommender.training_step, []

def training_step(*given):
    steps.append(given)
    if len(steps) == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*given)

Recommender.training_step = training_step
main()
"""


def start(recipe: Path, out: Path, command: list[str] = COMMAND) -> subprocess.Popen[str]:
    # Numbers are the same for the same number of threads: other partial sums round otherwise.
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, str(recipe), "--runs", str(out)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_at(recipe: Path, out: Path, line: str) -> list[str]:
    """Start the run, kill it when it says `line`, and return what it said before."""
    process, said = start(recipe, out), []
    assert process.stdout is not None
    for text in process.stdout:
        if text.strip().startswith(line):
            process.kill()
            break
        said.append(text.strip())
    else:
        pytest.fail(f"the run never said {line!r}:\n" + "\n".join(said))
    assert process.wait() == -9
    return said


def finish(recipe: Path, out: Path) -> list[str]:
    process = start(recipe, out)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said.splitlines()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a run that nobody killed, in a process like those that are killed."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.yaml").write_text(TINY)
    finish(folder / "tiny.yaml", folder / "runs")
    return folder / "runs"


def assert_same_numbers(killed: Path, whole: Path) -> None:
    (killed,), (whole,) = killed.glob("tiny/*"), whole.glob("tiny/*")
    names = sorted(str(p.relative_to(whole)) for p in whole.rglob("*.parquet"))
    assert len(names) >= 10
    for name in names:
        assert_frame_equal(pl.read_parquet(killed / name), pl.read_parquet(whole / name))
    one, other = (load_file(folder / "weights.safetensors") for folder in (killed, whole))
    assert all(one[name].equal(other[name]) for name in other)
    for name in ("quality.json", "data.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    for name in ("fidelity/random.json", "fidelity/leave_one_out.json"):
        one, other = (json.loads((folder / name).read_text()) for folder in (killed, whole))
        assert one["measures"] == other["measures"]
    assert not list(killed.rglob("*.partial"))


def test_killed_in_training_and_in_explaining(
    tiny_recipe: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    kill_at(tiny_recipe, out, "epoch 1")
    said = kill_at(tiny_recipe, out, "explain.random …")
    assert [line for line in said if line.endswith("done before")] == [
        "data: done before",
        "encode: done before",
    ]
    said = finish(tiny_recipe, out)
    done = [line for line in said if line.endswith("done before")]
    assert [line.split(":")[0] for line in done] == [
        "data", "encode", "train", "quality", "recommend", "layers", "explain.leave_one_out",
    ]  # fmt: skip
    assert_same_numbers(out, whole)


def test_killed_in_an_epoch_and_between_two(tiny_recipe: Path, whole: Path, tmp_path: Path) -> None:
    """Training goes on from its last checkpoint, with weights, figures and curves as if nothing."""
    out = tmp_path / "runs"
    for step in (7, 2):  # of seven an epoch: the last of the first, and the first of the second
        command = [sys.executable, "-c", KILLED_AT_A_STEP.format(step=step), "run"]
        process = start(tiny_recipe, out, command)
        said, _ = process.communicate()
        assert process.returncode == -9, said
        assert len(list(out.glob("tiny/*/checkpoint/train.*.safetensors"))) == 1
    assert "  going on from epoch 1, step 6" in said.splitlines()
    assert "  going on from epoch 2, step 0" in finish(tiny_recipe, out)
    assert_same_numbers(out, whole)
    told, expected = (next(f.glob("tiny/*/training.json")).read_text() for f in (out, whole))
    assert told == expected
    assert not list(out.rglob("checkpoint"))


def test_stopped_by_ctrl_c_it_says_how_to_go_on(tiny_recipe: Path, tmp_path: Path) -> None:
    script = KILLED_AT_A_STEP.format(step=9).replace("SIGKILL", "SIGINT")
    process = start(tiny_recipe, tmp_path / "runs", [sys.executable, "-c", script, "run"])
    said, _ = process.communicate()
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "xrec: stopped; start the same command again to go on"
    assert "Traceback" not in said
    assert "  going on from epoch 2, step 0" in finish(tiny_recipe, tmp_path / "runs")


@pytest.mark.slow
def test_killed_in_every_stage(tiny_recipe: Path, whole: Path, tmp_path: Path) -> None:
    (folder,), out = whole.glob("tiny/*"), tmp_path / "runs"
    stages = [record["stage"] for record in Store(folder).records()]
    for at, stage in enumerate(stages):
        said = kill_at(tiny_recipe, out, f"{stage} …")
        finished = [line.split(":")[0] for line in said if line.endswith("done before")]
        # A stage may be over by the time that the signal comes: then it is done, and rightly kept.
        assert finished[: at - 1] == stages[: max(at - 1, 0)]
    finish(tiny_recipe, out)
    assert_same_numbers(out, whole)


def test_finished_run_does_nothing_again(tiny_recipe: Path, tiny_run, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.folder.rglob("*")}
    from xrec import Recipe, run

    said: list[str] = []
    run(Recipe.load(tiny_recipe), tiny_run.folder.parents[1], said.append)
    assert said
    assert all(line.endswith("done before") for line in said)
    assert before == {path: path.stat().st_mtime_ns for path in tiny_run.folder.rglob("*")}


def test_a_changed_file_is_made_again(tiny_recipe: Path, tiny_run, tmp_path: Path) -> None:
    import shutil

    from xrec import Recipe, run

    shutil.copytree(tiny_run.folder.parents[1], tmp_path / "runs")
    folder = tmp_path / "runs" / tiny_run.folder.relative_to(tiny_run.folder.parents[1])
    (folder / "ranks.parquet").write_bytes(b"broken")
    said: list[str] = []
    run(Recipe.load(tiny_recipe), tmp_path / "runs", said.append)
    again = [line for line in said if line.endswith("…")]
    assert again == ["quality …"]
    assert_same_numbers(tmp_path / "runs", tiny_run.folder.parents[1])
