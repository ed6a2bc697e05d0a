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
from xrec.runs.run import Run

SUFFIX = ".pt2"


def write(run: Run, graphs: Sequence[Graph], batch: Batch, folder: Path) -> None:
    """Write a file a graph. Raises RunError where one cannot be traced, or would hold a pickle."""
    for graph in graphs:
        program = graph.program(run.model, batch)
        program.example_inputs = None  # torch would pickle them
        path = folder / f"{graph.name}{SUFFIX}"
        torch.export.save(program, path)
        _refuse_pickles(path)


def read(folder: Path, graph: Graph) -> Scorer:
    """A graph as a server loads it."""
    logging.getLogger("torch._export.serde.serialize").setLevel(logging.ERROR)
    program = torch.export.load(folder / f"{graph.name}{SUFFIX}").module()
    return lambda batch: program(*graph.given(batch).values())


def _refuse_pickles(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            text = archive.read(name)
            zipped = text.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05"))
            if zipped or b'"use_pickle": true' in text:
                raise RunError(
                    f"torch would keep a pickle in {path.name}: choose --format onnx or safetensors"
                )
