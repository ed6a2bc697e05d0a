"""ONNX: graphs that run in any of its runtimes, without PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xrec import plugins
from xrec.data.batches import Batch
from xrec.errors import RunError
from xrec.export.graph import Graph, Scorer
from xrec.runs.run import Run

try:
    import onnx  # noqa: F401  the three are one extra: torch imports the first two later
    import onnxruntime
    import onnxscript  # noqa: F401
except ModuleNotFoundError as error:
    raise plugins.lacking("xrec export --format onnx", error, extra="onnx") from error

SUFFIX = ".onnx"


def write(run: Run, graphs: Sequence[Graph], batch: Batch, folder: Path) -> None:
    """Write a file a graph. Raises RunError where one cannot be traced, or be said in ONNX."""
    for graph in graphs:
        given = graph.given(batch)
        shapes = (({0: "rows"},) * len(given),)  # all of one *argument
        try:
            written = program(graph.module(run.model, batch), given, [graph.name], shapes)
        except torch.onnx.errors.OnnxExporterError as error:
            raise RunError(
                f"the model {type(run.model).__name__} cannot be said in ONNX ({cause(error)}): "
                "choose --format safetensors, which fits any model"
            ) from error
        written.save(folder / f"{graph.name}{SUFFIX}")


def program(
    module: nn.Module, given: Mapping[str, Tensor], outputs: Sequence[str], shapes: Any
) -> torch.onnx.ONNXProgram:
    """A module of tensors alone as a graph, whose inputs are called as those given are.

    shapes: of each argument, the names of the dimensions that may be of any size, as torch.export
    takes them. Raises torch.onnx.errors.OnnxExporterError.
    """
    for name in ("torch", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it is raised
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        written = torch.onnx.export(
            module,
            tuple(given.values()),
            input_names=list(given),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    assert written is not None
    return written


def cause(error: torch.onnx.errors.OnnxExporterError) -> str:
    """The first line of what kept a module from becoming a graph."""
    return str(error.__cause__ or error).strip().splitlines()[0]


def read(folder: Path, graph: Graph) -> Scorer:
    """A graph as a server loads it."""
    session = onnxruntime.InferenceSession(
        folder / f"{graph.name}{SUFFIX}", providers=["CPUExecutionProvider"]
    )

    def score(batch: Batch) -> Tensor:
        given = {name: tensor.numpy() for name, tensor in graph.given(batch).items()}
        return torch.from_numpy(session.run([graph.name], given)[0])

    return score
