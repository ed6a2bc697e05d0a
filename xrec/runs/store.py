"""A run's folder: files written whole, and a record of each stage that is finished."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor

from xrec.errors import RunError
from xrec.files import digest, save_tensors, written

RECIPE = "recipe.yaml"


class Store:
    """The artefacts of a run, by their path in its folder.

    A stage's record in `stages/` is written after all its files, so that a stage with a record is
    finished, and one without is done again from its start.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writes: dict[str, str] = {}
        self.checkpoint = folder  # a file for where the stage at work is; `stage` says which

    @classmethod
    def open(cls, folder: Path) -> Store:
        """The store of an existing run. Raises RunError if `folder` is not one."""
        if not (folder / RECIPE).is_file():
            raise RunError(
                f"{folder} is not a run: it has no {RECIPE}; name a folder that 'xrec run' made, "
                "such as runs/quickstart/…"
            )
        return cls(folder)

    def path(self, name: str) -> Path:
        """Where an artefact is. Raises RunError if the run does not have it."""
        path = self.folder / name
        if not path.is_file():
            raise RunError(f"run {self.folder} has no {name}: finish it with 'xrec run' first")
        return path

    # Writing

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A partial file that becomes the artefact `name` of the stage at work."""
        with written(self.folder / name) as partial:
            yield partial
        self._writes[name] = digest(self.folder / name)

    def write_json(self, name: str, value: Any) -> None:
        """Write plain values; what is not a number (NaN) is written as null."""
        with self.writing(name) as partial:
            text = json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False)
            partial.write_text(text, encoding="utf-8")

    def write_table(self, name: str, frame: pl.DataFrame) -> None:
        """Write a Parquet file."""
        with self.writing(name) as partial:
            frame.write_parquet(partial)

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write a safetensors file."""
        with self.writing(name) as partial:
            save_tensors({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, partial)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        with self.writing(name) as partial:
            partial.write_text(text, encoding="utf-8")

    def adopt(self, name: str) -> None:
        """Take a file that was written whole to be an artefact of the stage at work."""
        self._writes[name] = digest(self.path(name))

    # Reading

    def json(self, name: str) -> Any:
        """Plain values; null where there was no number."""
        return json.loads(self.path(name).read_text(encoding="utf-8"))

    def table(self, name: str) -> pl.DataFrame:
        """A Parquet file."""
        return pl.read_parquet(self.path(name))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """A safetensors file."""
        return load_file(self.path(name))

    # Stages

    def finished(self, stage: str, key: str) -> bool:
        """Whether a stage was done for the same key and its files are as it wrote them."""
        record = self.record(stage)
        if record is None or record["key"] != key:
            return False
        files = record["writes"].items()
        return all(
            (self.folder / name).is_file() and digest(self.folder / name) == found
            for name, found in files
        )

    def record(self, stage: str) -> dict[str, Any] | None:
        """What is known of a finished stage."""
        path = self.folder / "stages" / f"{stage}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def writes(self, stage: str) -> dict[str, str]:
        """The files that a finished stage wrote, each with its digest."""
        files: dict[str, str] = (self.record(stage) or {})["writes"]
        return files

    @contextmanager
    def stage(self, stage: str, key: str, reads: Mapping[str, str]) -> Iterator[None]:
        """Run a stage's block and record it as finished; files of an older run of it go first.

        A checkpoint that a killed try for the same key left at `checkpoint` is still there.
        """
        self.checkpoint = self.folder / "checkpoint" / f"{stage}.{key[:16]}.safetensors"
        self._drop_checkpoints(stage, self.checkpoint)
        for name in (self.record(stage) or {"writes": ()})["writes"]:
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "stages" / f"{stage}.json").unlink(missing_ok=True)
        self._writes, begin = {}, time.perf_counter()
        yield
        record = {
            "stage": stage,
            "key": key,
            "reads": dict(reads),
            "writes": self._writes,
            "seconds": round(time.perf_counter() - begin, 3),
            "finished": time.time(),
        }
        with written(self.folder / "stages" / f"{stage}.json") as partial:
            partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
        self._drop_checkpoints(stage)

    def _drop_checkpoints(self, stage: str, but: Path | None = None) -> None:
        """Remove the checkpoints of a stage, and their folder if it is then empty."""
        folder = self.folder / "checkpoint"
        for path in folder.glob(f"{stage}.{'?' * 16}.safetensors"):
            if path != but:
                path.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def records(self) -> list[dict[str, Any]]:
        """The records of all finished stages, oldest first."""
        paths = self.folder.glob("stages/*.json")
        records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        return sorted(records, key=lambda record: record["finished"])

    # The folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from working on this run; afterwards, forget it if nothing came.

        Raises RunError if another process is at work on it.
        """
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise RunError(
                f"another process is at work on run {self.folder}: wait for it, or stop it"
            ) from error
        except OSError as error:
            raise RunError(f"{self.folder} cannot be made: {error.strerror}") from error
        try:
            yield
        finally:
            self.forget()
            lock.release()

    def begin(self, resolved: Mapping[str, Any]) -> None:
        """Keep the recipe, and clear what a killed run left half-written."""
        for partial in self.folder.rglob(".*.partial"):
            partial.unlink(missing_ok=True)
        for record in self.records():
            self._drop_checkpoints(record["stage"])
        if not (self.folder / RECIPE).is_file():
            with written(self.folder / RECIPE) as partial:
                partial.write_text(OmegaConf.to_yaml(OmegaConf.create(dict(resolved))))

    def forget(self) -> None:
        """Remove the folder if no stage was finished, and its parents if they are then empty."""
        if self.records():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in list(self.folder.parents)[:2]:
            if not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def key_of(*parts: Any) -> str:
    """A digest of plain values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value
