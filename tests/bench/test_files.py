"""A benchmark's files, and the grid that belongs to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import synthetic

from xrec.bench.files import Bench
from xrec.errors import RunError


def beside(folder: Path, model: str) -> None:
    """Move the grid out of a benchmark's folder into one of its own, of some model."""
    other = folder.parent / "tradeoff-1"
    other.mkdir()
    (folder / "tradeoff.parquet").rename(other / "tradeoff.parquet")
    (other / "tradeoff.json").write_text(json.dumps({"about": {"model": model}}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = synthetic.write(tmp_path / "bench-1", users=8, variants=("as trained", "small"))
    told = json.loads((made / "bench.json").read_text())
    told["about"]["model"] = "this"
    (made / "bench.json").write_text(json.dumps(told))
    return made


def test_a_grid_of_the_same_model_is_found_beside_it(folder: Path) -> None:
    expected = Bench.open(folder).tradeoff
    assert expected is not None
    beside(folder, "this")
    found = Bench.open(folder).tradeoff
    assert found is not None
    assert found.equals(expected)


def test_a_grid_of_another_model_is_none_of_its(folder: Path) -> None:
    beside(folder, "other")
    assert Bench.open(folder).tradeoff is None


@pytest.mark.parametrize("name", ["bench.json", "rows.parquet", "latency.parquet"])
def test_what_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(RunError, match=f"no finished benchmark: {name} is not there"):
        Bench.open(folder)
