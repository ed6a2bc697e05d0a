"""What server and clients exchange: the parameters that learn, and by what schema they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from torch import nn

from xrec.errors import XrecError
from xrec.models.recommender import Recommender

Arrays = Mapping[str, NDArray[np.float32]]
#: What a message's records are called, and the metric that FedAvg weighs by.
NAME, CONFIG, METRICS, WINDOWS = "arrays", "config", "metrics", "num-examples"


def learned(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """A copy of each parameter that requires a gradient, by its name."""
    return {
        name: parameter.detach().cpu().float().numpy().copy()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def put(module: nn.Module, arrays: Arrays) -> None:
    """Let the parameters that require a gradient be those of `learned`."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(np.array(arrays[name])))


def packed(arrays: Arrays) -> ArrayRecord:
    """Arrays as Flower sends them."""
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def unpacked(record: ArrayRecord) -> dict[str, NDArray[np.float32]]:
    """The arrays of a record."""
    return {name: array.numpy() for name, array in record.items()}


def told(content: RecordDict, name: str) -> dict[str, Any]:
    """The values of a message's record. Raises KeyError where it has none of that name."""
    return dict(content.config_records[name])


def telling(name: str, **values: Any) -> RecordDict:
    """The content of a message that has these values as its record."""
    return RecordDict({name: ConfigRecord(values)})


def flat(arrays: Arrays) -> NDArray[np.float64]:
    """(P,) all numbers, one array after the other."""
    return np.concatenate([np.ravel(value).astype(np.float64) for value in arrays.values()])


def moved(arrays: Arrays, step: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
    """The arrays after a step (P,) in the order of `flat`."""
    ends = np.cumsum([value.size for value in arrays.values()])[:-1]
    parts = zip(arrays.items(), np.split(step, ends), strict=True)
    return {
        name: (value + part.reshape(value.shape)).astype(np.float32)
        for (name, value), part in parts
    }


def clipped(step: NDArray[np.float64], norm: float) -> NDArray[np.float64]:
    """A step (P,) that is no longer than `norm`."""
    return step * min(1.0, norm / max(float(np.linalg.norm(step)), 1e-12))


@dataclass(frozen=True)
class Schema:
    """What must be the same at server and client for their parameters to mean the same.

    parameters: the shape of each that learns. items: how many there are. Digests: catalogue, of the
    items' ids; values, of what profiles, attributes and actions may be; fixed, of the parameters
    that do not learn. Nothing of it is about a single user.
    """

    parameters: dict[str, list[int]]
    items: int
    catalogue: str
    values: str
    fixed: str

    @classmethod
    def of(cls, module: Recommender) -> Schema:
        """The schema of a model and its data.

        Raises XrecError for a model that keeps running statistics, which would stay behind.
        """
        for name, part in module.named_modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats:
                raise XrecError(
                    f"federated: the layer '{name}' of the model keeps running statistics, which "
                    "clients do not exchange: use LayerNorm or GroupNorm in its place"
                )
        data = module.data_module
        return cls(
            {name: list(value.shape) for name, value in learned(module).items()},
            len(data.items.ids) - 1,
            _digest(*data.items.ids),
            _digest(*data.profile.names, "", *data.attributes.names, "", *data.actions.ids),
            _digest(*_fixed(module)),
        )

    def text(self) -> str:
        """JSON."""
        return json.dumps(asdict(self))

    def differs(self, text: str) -> str:
        """A clause on how the schema with that text differs from this one; "" if it does not.

        Raises ValueError, TypeError or KeyError for a text that is of no schema.
        """
        other = Schema(**json.loads(text))
        for name, shape in self.parameters.items():
            if name not in other.parameters:
                return f"its model lacks the parameter '{name}'"
            if other.parameters[name] != shape:
                theirs = tuple(other.parameters[name])
                return f"its parameter '{name}' is of shape {theirs}, the server's {tuple(shape)}"
        for name in other.parameters:
            if name not in self.parameters:
                return "its model has a parameter that the server's has not"
        if other.items != self.items:
            return f"it knows {int(other.items):,} items, the server {self.items:,}"
        if other.catalogue != self.catalogue:
            return "its items have other ids, or another order, than the server's"
        if other.values != self.values:
            return "its profile values, item attributes or actions differ from the server's"
        return "" if other.fixed == self.fixed else "its frozen weights differ from the server's"


def _fixed(module: nn.Module) -> Iterator[str]:
    """Name and digest of each parameter that does not learn."""
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            numbers = parameter.detach().cpu().float().numpy()
            yield f"{name} {hashlib.sha256(numbers.tobytes()).hexdigest()}"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
