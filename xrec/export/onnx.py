"""ONNX: graphs that run in any of its runtimes, without PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

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
    for name in ("torch", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it is raised
    for graph in graphs:
        given = tuple(graph.given(batch).values())
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                written = torch.onnx.export(
                    graph.module(run.model, batch),
                    given,
                    input_names=graph.inputs,
                    output_names=[graph.name],
                    dynamic_shapes=(({0: "rows"},) * len(given),),  # all of one *argument
                    dynamo=True,
                    verbose=False,
                )
        except torch.onnx.errors.OnnxExporterError as error:
            said = str(error.__cause__ or error).strip().splitlines()[0]
            raise RunError(
                f"the model {type(run.model).__name__} cannot be said in ONNX ({said}): choose "
                "--format safetensors, which fits any model"
            ) from error
        assert written is not None
        written.save(folder / f"{graph.name}{SUFFIX}")


def read(folder: Path, graph: Graph) -> Scorer:
    """A graph as a server loads it."""
    session = onnxruntime.InferenceSession(
        folder / f"{graph.name}{SUFFIX}", providers=["CPUExecutionProvider"]
    )

    def score(batch: Batch) -> torch.Tensor:
        given = {name: tensor.numpy() for name, tensor in graph.given(batch).items()}
        return torch.from_numpy(session.run([graph.name], given)[0])

    return score
