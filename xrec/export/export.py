"""An export: a folder that a server loads, put in place once it scores as the model does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from xrec import __version__
from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.errors import RunError, nearest
from xrec.export.graph import CATALOGUE, Graph, Scorer, graphs, ids
from xrec.files import digest
from xrec.runs.run import Run

#: The formats, each with the module that writes and reads it.
FORMATS = {
    "onnx": "xrec.export.onnx",
    "pt2": "xrec.export.pt2",
    "safetensors": "xrec.export.tensors",
}
TOLERANCE = 1e-4  # largest difference of a logit
ROWS = 64  # test queries that are compared
SIZES = (1, 2, 7, ROWS + 1)  # rows at once
MANIFEST, VOCABULARY = "export.json", "vocabulary.json"


@dataclass(frozen=True)
class Checked:
    """How an export was compared: how many queries, at which batch sizes, how far they differed."""

    rows: int
    sizes: tuple[int, ...]
    tolerance: float
    difference: float


def export(run: Run, kind: str, out: Path | None = None) -> tuple[Path, Checked]:
    """Write a run's trained model as the format `kind`, to the folder `out` or the run's own.

    Raises RunError, and leaves nothing: there is no such format, training is not finished, the
    model does not fit the format, or what was written does not score as the model does.
    """
    if kind == "torchscript":
        raise RunError(
            "torchscript is out of use: torch deprecates it, and its files are pickles; choose "
            "--format pt2, which torch.export writes in its place, onnx or safetensors"
        )
    if kind not in FORMATS:
        raise RunError(f"there is no format '{kind}': {nearest(kind, FORMATS)}")
    model, batch = run.model, sample(run.data)
    form = import_module(FORMATS[kind])
    folder = out or run.folder / "export" / kind
    with _placed(folder) as partial:
        asked = graphs(model, batch)
        form.write(run, asked, batch, partial)
        checked = _compare(run, asked, {g.name: form.read(partial, g) for g in asked}, batch)
        _write_json(partial / VOCABULARY, vocabulary(run.data))
        _write_json(partial / MANIFEST, _manifest(run, kind, asked, batch, checked, partial))
    return folder, checked


def load(folder: Path) -> dict[str, Scorer]:
    """The graphs of an export by name, "score" and perhaps "catalogue": from a Batch to logits.

    Raises RunError: `folder` is no export, or a file of it is not as it was checked.
    """
    if not (folder / MANIFEST).is_file():
        raise RunError(f"{folder} is no export: it has no {MANIFEST}; make one with 'xrec export'")
    told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, found in told["files"].items():
        if not (folder / name).is_file() or digest(folder / name) != found:
            raise RunError(f"export {folder}: {name} is not as it was checked: export it again")
    form = import_module(FORMATS[told["format"]])
    asked = [Graph(each["name"], tuple(each["inputs"])) for each in told["graphs"]]
    return {graph.name: form.read(folder, graph) for graph in asked}


def sample(data: Data) -> Batch:
    """Test queries of users from all over the table, and of one of whom nothing is known."""
    users = torch.linspace(1, len(data.users) - 1, min(ROWS, len(data.users) - 1)).long()
    batch = data.queries("test", torch.cat([users, users[-1:]]))
    known = {name: tensor.clone() for name, tensor in ids(batch).items() if name != "candidate"}
    for tensor in known.values():
        tensor[-1] = 0
    return replace(batch, **known)


def vocabulary(data: Data) -> dict[str, Any]:
    """What the ids in a graph's inputs mean: the name of each is at its place."""
    return {
        "items": data.items.ids,
        "actions": data.actions.ids,
        "profile": list(data.profile.names),
        "profile_slots": list(data.profile.fields),
    }


def _compare(run: Run, asked: list[Graph], loaded: dict[str, Scorer], batch: Batch) -> Checked:
    """Ask both the model and what was loaded, at several batch sizes."""
    furthest = 0.0
    sizes = tuple(sorted({min(size, len(batch)) for size in SIZES}))
    for graph in asked:
        for size in sizes:
            rows = batch.rows(slice(len(batch) - size, None))
            want, found = graph.answer(run.model, rows), loaded[graph.name](rows)
            if found.shape != want.shape:
                raise RunError(
                    f"nothing was exported: the {graph.name} of {size} rows has the shape "
                    f"{tuple(found.shape)}, and the model's {tuple(want.shape)}"
                )
            gap = float(torch.where(found == want, 0, found - want).abs().max())
            if not gap <= TOLERANCE:  # nor if it is no number
                raise RunError(
                    f"nothing was exported: the {graph.name} of {size} rows differs from the "
                    f"model's by {gap:.3g}, more than {TOLERANCE:g}"
                )
            furthest = max(furthest, gap)
    return Checked(len(batch), sizes, TOLERANCE, furthest)


def _manifest(
    run: Run, kind: str, asked: list[Graph], batch: Batch, checked: Checked, folder: Path
) -> dict[str, Any]:
    """What a server needs to know: shapes, where "rows" is any number, and files by SHA-256."""

    def told(graph: Graph) -> dict[str, Any]:
        given = {name: ["rows", *tensor.shape[1:]] for name, tensor in graph.given(batch).items()}
        whole = [len(run.data.items)] if graph.name == CATALOGUE else []
        return {
            "name": graph.name,
            "inputs": {name: {"dtype": "int64", "shape": shape} for name, shape in given.items()},
            "output": {"dtype": "float32", "shape": ["rows", *whole]},
        }

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "format": kind,
        "recipe": run.recipe.digest(),
        "xrec": __version__,
        "torch": torch.__version__,
        "graphs": [told(graph) for graph in asked],
        "checked": asdict(checked),
        "files": {str(path.relative_to(folder)): digest(path) for path in files},
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


@contextmanager
def _placed(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder`, an older export, when the block ends well.

    Raises RunError if something else is there.
    """
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise RunError(f"{folder} is there already, and is no export: name another with --out")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{folder.name}.*.unchecked"):  # by a killed process
            shutil.rmtree(left)
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.unchecked")
        partial.mkdir()
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        yield partial
        older = folder.with_name(f".{folder.name}.{os.getpid()}.older.unchecked")
        if folder.exists():
            folder.rename(older)
        partial.rename(folder)
        shutil.rmtree(older, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
