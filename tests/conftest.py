"""What many tests start from: a recipe small enough to run in seconds, and a run of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import xrec_plugins.privacy.federation  # noqa: F401  Flower reads what it sets once it is imported

torch.set_num_threads(1)  # the models are small: more threads only wait for each other

TINY = """
name: tiny
data: {dataset: planted, users: 60, items: 100, events: 8, history: 8}
encoder: {name: hashed, size: 16}
model: {name: sequential, width: 16, layers: 1}
train: {epochs: 2, batch: 16, negatives: 8, lr: 0.01, checkpoint: 2}
explain: [leave_one_out, {name: random, seed: 1}]
fidelity: [deletion, planted_truth]
protocol: {users: 6, points: 3, repeats: 2, batch: 2}
report: {explained: 2}
"""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> Path:
    """A recipe file that runs in a few seconds, offline."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory):
    """A finished run of the tiny recipe. Tests must not write to it."""
    from xrec import Recipe, run

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(TINY)
    return run(Recipe.load(folder / "tiny.yaml"), folder / "runs")


@pytest.fixture
def xrec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call the command line in this process: xrec("run", …) → (exit code, stdout, stderr)."""
    from xrec.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["xrec", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call
