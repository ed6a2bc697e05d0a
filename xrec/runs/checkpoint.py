"""Where training is, in one file: Lightning's checkpoint as safetensors, without pickle.

A checkpoint is a tree of plain values and tensors. The tensors are the file's tensors; the rest of
the tree is JSON in its header, with a checksum of everything.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xrec.errors import RunError
from xrec.files import save_tensors, written

PLAIN = (type(None), bool, int, str)


class Checkpoints(CheckpointIO):
    """What Lightning writes its checkpoints by, and reads them."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, whole or not at all."""
        write(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> Any:
        """Read a checkpoint; its tensors are on the CPU."""
        return read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


def write(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a tree of dicts, lists, tuples, numbers, strings, None and tensors.

    Raises RunError, which names the place in the tree, for anything else; XrecError where the disk
    is full, and then what was at `path` before is still there.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_flat(dict(checkpoint), (), tensors), allow_nan=False)
    _part(tensors)
    with written(path) as partial:
        save_tensors(tensors, partial, {"tree": tree, "checksum": _checksum(tree, tensors)})


def read(path: Path) -> dict[str, Any]:
    """The tree that was written, tensors on the CPU.

    Raises RunError if the file was cut short, changed, or is no checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(f"checkpoint {path} cannot be read: {error}") from error
    tree = told.get("tree", "")
    if told.get("checksum") != _checksum(tree, tensors):
        raise RunError(f"checkpoint {path} is not as it was written: its checksum differs")
    whole: dict[str, Any] = _deep(json.loads(tree), tensors)
    return whole


def _checksum(tree: str, tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of a tree and its tensors: it tells of accidents, not of malice."""
    found = zlib.crc32(tree.encode())
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {tensor.dtype} {tensor.shape}".encode(), found)
        found = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, found)
    return str(found)


def _flat(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    """The JSON of a value; its tensors are put with `tensors`."""
    if type(value) in PLAIN:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Tensor) and value.layout == torch.strided:
        name = f"{len(tensors)}:{'.'.join(path)}"
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if type(value) in (list, tuple):
        items = [_flat(each, (*path, str(at)), tensors) for at, each in enumerate(value)]
        return items if type(value) is list else {"tuple": items}
    if isinstance(value, dict) and all(type(key) in (str, int) for key in value):
        rows = [[key, _flat(each, (*path, str(key)), tensors)] for key, each in value.items()]
        return {"dict": rows}
    raise RunError(
        f"where training is cannot be written: {'.'.join(path)} is a {type(value).__name__}, and a "
        "checkpoint holds numbers, strings, tensors, and lists, tuples and dicts of them; "
        "train.checkpoint=0 goes without checkpoints"
    )


def _deep(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value of its JSON."""
    if isinstance(value, list):
        return [_deep(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "float":
        return float(held)
    if kind == "tensor":
        return tensors[held]
    if kind == "tuple":
        return tuple(_deep(each, tensors) for each in held)
    return {key: _deep(each, tensors) for key, each in held}


def _part(tensors: dict[str, Tensor]) -> None:
    """Give memory of its own to each tensor that shares another's: safetensors asks for it."""
    seen = set()
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in seen:
            tensors[name] = tensor.clone()
        seen.add(storage.data_ptr())
