"""Runs that have more than the tiny one, or less."""

from __future__ import annotations

from pathlib import Path

import pytest

from xrec import Recipe, run
from xrec.runs.run import Run


@pytest.fixture(scope="session")
def planted_run(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose recommendations have planted causes, which those of the tiny run have not."""
    recipe = Path(tiny_run.folder.parents[2] / "tiny.yaml")
    changes = ["data.items=200", "data.events=20", "data.history=20", "protocol.users=10"]
    return run(Recipe.load(recipe, changes), tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def bare_run(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without explainers or measures, its data uncleaned."""
    recipe = Path(tiny_run.folder.parents[2] / "tiny.yaml")
    changes = ["explain=[]", "fidelity=[]", "data.clean=none", "train.epochs=1"]
    return run(Recipe.load(recipe, changes), tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def unmeasured_run(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose explanations are timed but not measured."""
    recipe = Path(tiny_run.folder.parents[2] / "tiny.yaml")
    changes = ["explain=[random]", "fidelity=[]", "train.epochs=1"]
    return run(Recipe.load(recipe, changes), tmp_path_factory.mktemp("unmeasured"))
