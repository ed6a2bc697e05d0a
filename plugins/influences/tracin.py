"""TracIn, by captum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from captum.influence import TracInCP
from torch import Tensor

from xrec import hookimpl
from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.influence.checkpoint import Checkpoint
from xrec.influence.influence import Trace
from xrec.influence.objective import EACH, QUERIES, Itself, Objective
from xrec.models.rates import by_name, groups
from xrec.models.recommender import Recommender
from xrec_plugins.influences.scope import Scope

ALONE = (
    "No weights of the way through training were kept, so the last ones speak for all of it: "
    "train.keep keeps some."
)


@dataclass(frozen=True)
class TracIn(Scope):
    """How far steps of training on an interaction moved the logit (TracInCP, Pruthi et al., 2020).

    The sum over checkpoints of learning rate times the product of two gradients, of the
    interaction's loss and of the logit, each parameter by its own rate. It is the first-order
    effect of a step of plain gradient descent on that interaction alone: with another optimizer,
    and in batches, values tell interactions apart, and not by how many logits the score would fall.

    Where training kept no weights, the last ones alone are looked at.
    """

    def trace(
        self, model: Recommender, checkpoints: Sequence[Checkpoint], data: Data, queries: Batch
    ) -> Trace:
        """Trace B queries, at a cost of M + B gradients a checkpoint."""
        with self.objective(model, data, queries) as objective:
            if checkpoints:
                values = sum(self._at(objective, each, each.rates) for each in checkpoints)
            else:
                values = self._at(objective, None, _rates(model))
        assert isinstance(values, Tensor)
        notes = () if checkpoints else (ALONE,)
        return Trace.of(objective, values, "tracin", notes)

    def _at(
        self, objective: Objective, checkpoint: Checkpoint | None, rates: Mapping[str, float]
    ) -> Tensor:
        """(B, M) what one checkpoint adds; None stands for the weights that the model has."""
        if checkpoint is not None:
            objective.load(checkpoint.weights())
        largest = max(rates.get(name, 0.0) for name in objective.names)
        traced = TracInCP(
            objective,
            objective.loader(EACH, torch.arange(len(objective.interactions))),
            [largest],
            lambda model, rate: rate,  # captum loads for every batch, and here all is loaded
            loss_fn=Itself(),
        )
        # The gradients of all the queries in a group are held while all interactions go by.
        group = max(1, self.max_bytes // (8 * objective.size))
        places = torch.arange(len(objective.queries)).split(group)
        with _scaled(objective, rates, largest):
            return torch.cat(
                [traced.influence(objective.loader(QUERIES, some)).cpu() for some in places]
            )


def _rates(model: Recommender) -> dict[str, float]:
    """The learning rate that each parameter of a model begins with."""
    options = model.options
    grouped = groups(model.named_parameters(), options.lr, options.rates)
    return by_name(model.named_parameters(), grouped)


@contextmanager
def _scaled(objective: Objective, rates: Mapping[str, float], largest: float) -> Iterator[None]:
    """Within, products of gradients weigh parameters by their rates, in parts of the largest.

    A gradient is scaled by the root of its parameter's weight, as a product is of two.
    """
    handles = []
    for name, number in zip(objective.names, objective.numbers, strict=True):
        if (rate := rates.get(name, 0.0)) != largest:
            handles.append(number.register_hook(_times(math.sqrt(rate / largest))))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _times(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * factor


@hookimpl
def xrec_influences() -> dict[str, type]:
    """Offer TracIn."""
    return {"tracin": TracIn}
