"""Modules as ONNX graphs, rounded to int8 or not, from which their weights are read again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from xrec.export.onnx import program

WEIGHTS = "xrec.weights"  # in a graph's metadata: of each parameter, where the graph has it
NOTHING = ""  # in place of one that is 0 throughout
TURNED = " turned"  # behind the name of a tensor that is a parameter's transpose
PART = "part."  # before the name of each parameter: what is written wraps the part it is of
ROUNDED = ("_quantized", "_scale", "_zero_point")  # what quantize_dynamic makes of a tensor


def written(
    module: nn.Module, given: Mapping[str, Tensor], outputs: list[str], shapes: Any, int8: bool
) -> bytes:
    """A module as an ONNX file, which tells where it has each of the parameters that it reads.

    given, outputs, shapes: as `program` takes them. With int8, weights that are multiplied with are
    rounded by columns, and what they are multiplied with as it comes, by its range at that moment.
    Raises torch.onnx.errors.OnnxExporterError.
    """
    model = program(module, given, outputs, shapes).model_proto
    places = _places(module, model)
    for node in model.graph.node:
        del node.metadata_props[:]  # which line of Python it came from
    if int8:
        model = _rounded(model)
    model.metadata_props.add(key=WEIGHTS, value=json.dumps(places))
    found: bytes = model.SerializeToString()
    return found


def _rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    logging.getLogger().addFilter(_no_advice)
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder, "graph.onnx")
            quantize_dynamic(
                model,
                path,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
            return onnx.load(path)
    finally:
        logging.getLogger().removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    """Whether a record is another than the advice to infer shapes first: they are there already."""
    return "pre-processing before quantization" not in record.getMessage()


def _places(module: nn.Module, model: onnx.ModelProto) -> dict[str, str]:
    """The tensor of a graph that is each parameter; none of those that the graph does not read.

    The exporter names a tensor as the parameter is named, unless it turned it, or found two alike;
    what is 0 throughout, and nowhere to be found, it may have left out.
    """
    tensors = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    alike = {_digest(tensor): name for name, tensor in tensors.items()}
    found = {}
    for name, parameter in module.named_parameters():
        value = parameter.detach().numpy()
        places = [name] if name in tensors else []
        places += [alike[_digest(value)]] if _digest(value) in alike else []
        places += [alike[_digest(value.T)] + TURNED] if _digest(value.T) in alike else []
        places += [] if value.any() else [NOTHING]
        if places:
            found[name.removeprefix(PART)] = places[0]
    return found


def _digest(value: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()


def held(file: bytes) -> int:
    """How many numbers the parameters have that a graph holds."""
    model, known = _read(file)
    places = set(known.values())  # of those that are alike, one
    sizes = {each.name: int(np.prod(each.dims)) for each in model.graph.initializer}
    return sum(sizes.get(_of(each), 0) + sizes.get(_of(each) + ROUNDED[0], 0) for each in places)


def _of(place: str) -> str:
    """The name of the tensor at a place."""
    return place.removesuffix(TURNED)


def weights(file: bytes) -> dict[str, Tensor]:
    """The parameters that a graph holds, as float32, as rounded as they are.

    One that is 0 throughout may be a single number.
    """
    model, places = _read(file)
    tensors = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    found = {}
    for name, place in places.items():
        of = _of(place)
        if place == NOTHING:
            found[name] = torch.zeros(())
            continue
        value = tensors[of] if of in tensors else _float(*(tensors[of + end] for end in ROUNDED))
        found[name] = torch.from_numpy(np.array(value.T if place.endswith(TURNED) else value))
    return found


def _float(rounded: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    return (rounded.astype(np.float32) - zero.astype(np.float32)) * scale


def _read(file: bytes) -> tuple[onnx.ModelProto, dict[str, str]]:
    model = onnx.load_from_string(file)
    told = {each.key: each.value for each in model.metadata_props}
    return model, json.loads(told[WEIGHTS])
