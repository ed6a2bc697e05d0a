"""A model as a graph of tensors: what it reads is ids, what it gives is logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from xrec.data.batches import Batch
from xrec.errors import RunError
from xrec.models.recommender import Recommender

SCORE, CATALOGUE = "score", "catalogue"
Scorer = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Graph:
    """One thing that a server asks of a model.

    "score": (B,) logits of the first task, for each row's candidate.
    "catalogue": (B, N + 1) logits of every item, column 0 being padding.

    inputs: the fields of a Batch that the answer follows, (B, …) int64 each.
    """

    name: str
    model: Recommender
    inputs: tuple[str, ...]

    def answer(self, batch: Batch) -> Tensor:
        """What the model itself says."""
        with torch.no_grad():
            if self.name == CATALOGUE:
                return self.model.catalogue(batch)
            return self.model.score(self.model.embed(batch))

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """The graph's inputs, for a batch."""
        return {name: getattr(batch, name) for name in self.inputs}

    def program(self, batch: Batch) -> torch.export.ExportedProgram:
        """The graph that torch.export traces on a batch; it takes any number of rows.

        Raises RunError where the model's code is not such that it can be traced.
        """
        given = tuple(self.given(batch).values())
        rows = torch.export.Dim("rows", min=1)
        shapes = ({0: rows},) * len(given)  # for one *argument
        try:
            with torch.no_grad():
                return torch.export.export(
                    _Module(self, batch), given, dynamic_shapes=(shapes,), strict=True
                )
        except Exception as error:  # dynamo raises many kinds, all about the model's code
            raise RunError(
                f"the model {type(self.model).__name__} cannot be traced to a graph "
                f"({str(error).strip().splitlines()[0]}): --format safetensors fits any model"
            ) from error


class _Module(nn.Module):
    """The graph as a module of tensors alone; what of a batch it is not given is 0."""

    def __init__(self, graph: Graph, batch: Batch) -> None:
        super().__init__()
        self.model, self.inputs = graph.model, graph.inputs
        self.whole = graph.name == CATALOGUE
        self.shapes = {name: tensor.shape[1:] for name, tensor in _ids(batch).items()}

    def forward(self, *given: Tensor) -> Tensor:
        """(B, …) int64 tensors, in the order of the graph's inputs → logits."""
        known = dict(zip(self.inputs, given, strict=True))
        rows = given[0].shape[0]
        for name, shape in self.shapes.items():
            if name not in known:
                known[name] = given[0].new_zeros((rows, *shape))
        batch = Batch(**known)
        if self.whole:
            return self.model.catalogue(batch)
        return self.model.score(self.model.embed(batch))


def graphs(model: Recommender, batch: Batch) -> list[Graph]:
    """The graphs of a model: its score, and its catalogue where that is not one score an item.

    What an answer does not follow, on `batch`, is no input of its graph: the history always is,
    and the candidate that of a score.
    """
    found = [_graph(SCORE, model, batch, ("history", "candidate"))]
    if type(model).catalogue is not Recommender.catalogue:
        found.append(_graph(CATALOGUE, model, batch, ("history",)))
    return found


def _graph(name: str, model: Recommender, batch: Batch, always: Sequence[str]) -> Graph:
    whole = Graph(name, model, tuple(_ids(batch)))
    answer, inputs = whole.answer(batch), []
    for field, tensor in _ids(batch).items():
        without = replace(batch, **{field: torch.zeros_like(tensor)})
        if field in always or not whole.answer(without).equal(answer):
            inputs.append(field)
    return replace(whole, inputs=tuple(inputs))


def _ids(batch: Batch) -> Mapping[str, Tensor]:
    """The fields of a batch that a model may read of a query: those of ids."""
    given = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return {
        name: tensor
        for name, tensor in given.items()
        if tensor is not None and tensor.dtype == torch.int64
    }
