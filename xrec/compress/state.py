"""What a model holds, as plain tensors: those of quantised weights by their parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xrec.errors import RunError


def flat(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model's state by name.

    A weight that is made of several tensors, as torchao's are, comes as these: "weight.qdata",
    "weight.scale". They share memory with the model.
    """
    return dict(_every(model.state_dict()))


def _every(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.items():
        if is_traceable_wrapper_subclass(tensor):
            names, _ = tensor.__tensor_flatten__()
            yield from _every({f"{name}.{part}": getattr(tensor, part) for part in names})
        else:
            yield name, tensor


def load(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put what `flat` gave of a model of the same shape into `model`.

    Raises RunError, which names `source`: names, shapes or kinds of numbers are others.
    """
    own = flat(model)
    for name in own.keys() | tensors.keys():
        if name not in own or name not in tensors:
            raise RunError(f"{source} does not fit its model: {name} is in one of the two alone")
        found, wanted = tensors[name], own[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise RunError(
                f"{source} does not fit its model: {name} is {found.dtype} {tuple(found.shape)}, "
                f"not {wanted.dtype} {tuple(wanted.shape)}"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def size(model: nn.Module) -> dict[str, int]:
    """How many parameters a model has, and the bytes of these and all else that it keeps.

    A module that keeps parameters in another form says how many as its `held`.
    """
    parameters = dict(model.named_parameters())
    kept = dict(_every(dict(chain(parameters.items(), model.named_buffers()))))
    held = sum(getattr(module, "held", 0) for module in model.modules())
    return {
        "parameters": held + sum(each.numel() for each in parameters.values()),
        "bytes": sum(each.nbytes for each in kept.values()),
    }
