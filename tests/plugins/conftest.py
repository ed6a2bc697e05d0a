"""Runs that have more than the tiny one, or less."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
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


@pytest.fixture(scope="session")
def causeless_run(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny run, as if none of its recommendations had a planted cause."""
    folder = tmp_path_factory.mktemp("causeless") / "run"
    shutil.copytree(tiny_run.folder, folder)
    for path in folder.glob("fidelity/*.json"):
        found = json.loads(path.read_text())
        for name in (name for name in found["measures"] if name.startswith("planted")):
            found["measures"][name] = {"mean": None, "low": None, "high": None, "users": 0}
        path.write_text(json.dumps({**found, "plant_taken_up": None}))
    for path in folder.glob("fidelity/*.parquet"):
        none = pl.lit(float("nan"))
        rows = pl.read_parquet(path).with_columns(pl.col("^planted.*$") * none)
        rows.write_parquet(path)
    return Run.open(folder)
