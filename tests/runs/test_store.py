"""The folder of a run: whole files, records, one process at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xrec.errors import RunError
from xrec.runs.store import RECIPE, Store, key_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "runs" / "a" / "1")
    store.begin({"name": "a"})
    return store


def test_a_stage_is_finished_only_when_its_block_ends(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.stage("data", "key", {}):
        store.write_json("a.json", {"x": 1})
        raise ZeroDivisionError
    assert not store.finished("data", "key")
    with store.stage("data", "key", {"source": "digest"}):
        store.write_json("a.json", {"x": 1})
    assert store.finished("data", "key")
    assert not store.finished("data", "another key")


def test_a_file_changed_or_gone_undoes_its_stage(store: Store) -> None:
    with store.stage("data", "key", {}):
        store.write_json("a.json", 1)
        store.write_tensors("b.safetensors", {"t": torch.ones(2)})
    (store.folder / "a.json").write_text("2")
    assert not store.finished("data", "key")
    (store.folder / "a.json").write_text("1")
    assert store.finished("data", "key")
    (store.folder / "b.safetensors").unlink()
    assert not store.finished("data", "key")


def test_doing_a_stage_again_removes_what_it_no_longer_writes(store: Store) -> None:
    with store.stage("data", "1", {}):
        store.write_json("old.json", 1)
    with store.stage("data", "2", {}):
        store.write_json("new.json", 1)
    assert not (store.folder / "old.json").exists()


def test_what_is_written_is_read_back(store: Store) -> None:
    tensor = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    with store.stage("s", "k", {}):
        store.write_tensors("t.safetensors", {"t": tensor.T})
        store.write_json("n.json", {"nan": float("nan"), "list": [1, float("inf")], "é": "ü"})
    assert store.tensors("t.safetensors")["t"].equal(tensor.T)
    assert store.json("n.json") == {"nan": None, "list": [1, None], "é": "ü"}


def test_an_artefact_that_is_not_there(store: Store) -> None:
    with pytest.raises(RunError, match=r"has no quality\.json: finish it"):
        store.json("quality.json")


def test_one_process_at_a_time(store: Store) -> None:
    with store.alone(), pytest.raises(RunError, match="another process is at work"):
        with Store(store.folder).alone():
            pass


def test_a_run_in_which_nothing_was_finished_is_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs" / "a" / "1")
    with pytest.raises(ZeroDivisionError), store.alone():
        store.begin({"name": "a"})
        raise ZeroDivisionError
    assert not (tmp_path / "runs").exists()


def test_forgetting_leaves_other_runs(store: Store) -> None:
    other = Store(store.folder.with_name("2"))
    other.begin({"name": "a"})
    with other.stage("data", "k", {}):
        other.write_json("a.json", 1)
    store.forget()
    assert not store.folder.exists()
    assert (other.folder / RECIPE).exists()


def test_half_written_files_of_a_killed_run_are_cleared(store: Store) -> None:
    (store.folder / "data").mkdir()
    (store.folder / "data" / ".items.parquet.123.partial").write_text("half")
    store.begin({"name": "a"})
    assert not list(store.folder.rglob("*.partial"))


def test_a_checkpoint_is_of_its_stage_and_key_until_that_is_finished(store: Store) -> None:
    def stop(stage: str, key: str) -> Path:
        with pytest.raises(ZeroDivisionError), store.stage(stage, key, {}):
            store.checkpoint.parent.mkdir(exist_ok=True)
            store.checkpoint.write_text("half way")
            raise ZeroDivisionError
        return store.checkpoint

    first, other = stop("train", "a" * 64), stop("pretrain", "a" * 64)
    with pytest.raises(ZeroDivisionError), store.stage("train", "a" * 64, {}):
        assert store.checkpoint.read_text() == "half way"
        raise ZeroDivisionError
    second = stop("train", "b" * 64)
    assert [path.exists() for path in (first, other, second)] == [False, True, True]
    with store.stage("train", "b" * 64, {}):
        assert store.checkpoint == second
    assert [path.exists() for path in (other, second)] == [True, False]
    with store.stage("pretrain", "a" * 64, {}):
        pass
    assert not (store.folder / "checkpoint").exists()


def test_a_checkpoint_left_beside_a_finished_stage_is_cleared(store: Store) -> None:
    with store.stage("train", "a" * 64, {}):
        pass
    store.checkpoint.parent.mkdir()
    store.checkpoint.write_text("half way")
    store.begin({"name": "a"})
    assert not (store.folder / "checkpoint").exists()


def test_keys_tell_apart_what_differs() -> None:
    assert key_of("a", [1, 2]) == key_of("a", [1, 2])
    assert key_of("a", [1, 2]) != key_of("a", [2, 1])
    assert key_of({"x": 1, "y": 2}) == key_of({"y": 2, "x": 1})
