"""A model as a graph of tensors: what it reads is ids, what it gives is logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from xrec.data.batches import Batch
from xrec.models.recommender import Recommender

SCORE, CATALOGUE = "score", "catalogue"

#: What an exported graph is when it is loaded: from a batch to logits.
Scorer = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Graph:
    """One thing that a server asks of a model.

    "score": (B,) logits of the first task, for each row's candidate.
    "catalogue": (B, N + 1) logits of every item, column 0 being padding.

    inputs: the fields of a Batch that the answer follows, (B, …) int64 each.
    """

    name: str
    inputs: tuple[str, ...]

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """The graph's inputs, for a batch."""
        return {name: getattr(batch, name) for name in self.inputs}

    def answer(self, model: Recommender, batch: Batch) -> Tensor:
        """What the model itself says."""
        with torch.no_grad():
            return _ask(model, self.name, batch)

    def module(self, model: Recommender, batch: Batch) -> nn.Module:
        """The graph as a module of tensors alone, for batches of the shapes of `batch`."""
        return _Module(self, model, batch)


class _Module(nn.Module):
    """What of a batch it is not given is 0."""

    def __init__(self, graph: Graph, model: Recommender, batch: Batch) -> None:
        super().__init__()
        self.name, self.model, self.inputs = graph.name, model, graph.inputs
        self.shapes = {name: tuple(tensor.shape[1:]) for name, tensor in ids(batch).items()}

    def forward(self, *given: Tensor) -> Tensor:
        """(B, …) int64 tensors, in the order of the graph's inputs → logits."""
        known = dict(zip(self.inputs, given, strict=True))
        for name, shape in self.shapes.items():
            if name not in known:
                known[name] = given[0].new_zeros((given[0].shape[0], *shape))
        return _ask(self.model, self.name, Batch(**known))


def _ask(model: Recommender, name: str, batch: Batch) -> Tensor:
    return model.catalogue(batch) if name == CATALOGUE else model.score(model.embed(batch))


def graphs(model: Recommender, batch: Batch) -> list[Graph]:
    """The graphs of a model: its score, and its catalogue where that is not one score an item.

    What an answer does not follow, on `batch`, is no input of its graph: the history always is,
    and the candidate that of a score. A catalogue that follows who the user is, as one does that
    leaves out what they had, looks that up in the run's data: it is no graph.
    """
    found = [_graph(model, SCORE, batch, ("history", "candidate"))]
    if type(model).catalogue is not Recommender.catalogue:
        catalogue = _graph(model, CATALOGUE, batch, ("history",))
        found += [] if "user" in catalogue.inputs else [catalogue]
    return found


def _graph(model: Recommender, name: str, batch: Batch, always: Sequence[str]) -> Graph:
    whole = Graph(name, tuple(ids(batch)))
    answer, inputs = whole.answer(model, batch), []
    for field, tensor in ids(batch).items():
        without = replace(batch, **{field: torch.zeros_like(tensor)})
        if field in always or not whole.answer(model, without).equal(answer):
            inputs.append(field)
    return Graph(name, tuple(inputs))


def ids(batch: Batch) -> dict[str, Tensor]:
    """The fields of a batch that a model may read of a query: those of ids."""
    given = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return {
        name: tensor
        for name, tensor in given.items()
        if tensor is not None and tensor.dtype == torch.int64
    }
