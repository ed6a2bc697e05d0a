"""PyTorch's own format: a program of torch.export, in a zip of JSON and plain tensors."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch

from xrec.data.batches import Batch
from xrec.errors import RunError
from xrec.export.graph import Graph, Scorer
from xrec.models.recommender import Recommender
from xrec.runs.run import Run

SUFFIX = ".pt2"


def write(run: Run, graphs: Sequence[Graph], batch: Batch, folder: Path) -> None:
    """Write a file a graph. Raises RunError where one cannot be traced, or would hold a pickle."""
    for graph in graphs:
        program = _traced(run.model, graph, batch)
        program.example_inputs = None  # torch would pickle them
        path = folder / f"{graph.name}{SUFFIX}"
        torch.export.save(program, path)
        _refuse_pickles(path)


def _traced(model: Recommender, graph: Graph, batch: Batch) -> torch.export.ExportedProgram:
    logging.getLogger("torch").setLevel(logging.CRITICAL)  # what matters of it is raised
    given = tuple(graph.given(batch).values())
    rows = torch.export.Dim("rows", min=1)
    shapes = ({0: rows},) * len(given)  # all of one *argument
    module = graph.module(model, batch)
    try:
        with torch.no_grad():
            return torch.export.export(module, given, dynamic_shapes=(shapes,), strict=True)
    except Exception as error:  # dynamo raises many kinds, all about the model's code
        said = str(error).strip().splitlines()[0]
        raise RunError(
            f"torch.export cannot trace the model {type(model).__name__} ({said}): choose "
            "--format safetensors, which fits any model"
        ) from error


def read(folder: Path, graph: Graph) -> Scorer:
    """A graph as a server loads it."""
    logging.getLogger("torch").setLevel(logging.CRITICAL)
    program = torch.export.load(folder / f"{graph.name}{SUFFIX}").module()

    def score(batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            return program(*graph.given(batch).values())

    return score


def _refuse_pickles(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            text = archive.read(name)
            zipped = text.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05"))
            if zipped or b'"use_pickle": true' in text:
                raise RunError(
                    f"torch would keep a pickle in {path.name}: choose --format onnx or safetensors"
                )
