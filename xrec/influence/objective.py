"""What influence methods differentiate: the losses of interactions, the logits of queries."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from xrec.data.batches import Batch
from xrec.errors import XrecError, nearest
from xrec.explain.cost import Cost
from xrec.influence.interactions import Interactions
from xrec.models.rates import starts
from xrec.models.recommender import Recommender

EACH, TOGETHER, QUERIES = range(3)  # what an objective is asked for
GRAPHS = 8  # interactions whose losses are held at once, each with a graph of its own


class Objective(nn.Module):
    """A copy of a model as a function from interactions and queries to numbers to differentiate.

    Its parameters are those of the model that learned and whose names begin with one of `parts`, up
    to a dot or the end; all that learned where `parts` is empty. It is in evaluation mode. What a
    loss draws at random, such as negatives of its own, is the same whenever it is asked for.

    Raises XrecError: nothing of the model learned, or nothing goes by the name of a part.
    """

    def __init__(
        self,
        model: Recommender,
        interactions: Interactions,
        queries: Batch,
        parts: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.chosen = learned(model, parts)
        self.model = copy.deepcopy(model).eval()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in self.chosen)
        self.interactions, self.queries, self.seed = interactions, queries, seed
        self.cost = Cost()

    def named_parameters(self, *given: Any, **options: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """The chosen ones alone, which is what gradients are taken of."""
        for name, parameter in super().named_parameters(*given, **options):
            if name.removeprefix("model.") in self.chosen:
                yield name, parameter

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The chosen ones alone."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    @property
    def size(self) -> int:
        """How many numbers the parameters are."""
        return sum(math.prod(parameter.shape) for parameter in self.parameters())

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put other weights in the model's place. Raises XrecError: they are of another model."""
        try:
            self.model.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise XrecError(
                f"the weights are of another model than {type(self.model).__name__}: "
                f"{str(error).splitlines()[0]}"
            ) from error

    def forward(self, place: Tensor, asked: Tensor) -> Tensor:
        """(b,) numbers of the interactions or queries at `place` (b,).

        asked (b,), alike in all: EACH, the loss of each interaction; TOGETHER, their mean loss, b
        times, as one pass of training finds it; QUERIES, minus the logit of each query, so that
        what lowers it raises the logit.
        """
        if asked[0] == QUERIES:
            said = -self.model(self.queries.rows(place).to(self.model.device))
        elif asked[0] == TOGETHER:
            said = self._loss(place).expand(len(place))
        else:
            said = torch.stack([self._loss(one) for one in place.split(1)])
        self.cost.forward += len(place)
        if said.requires_grad:
            said.register_hook(self._count)
        # A parameter that has no bearing has a gradient of 0, where autograd would have none.
        return said + 0 * sum(parameter.sum() for parameter in self.parameters())

    def _loss(self, place: Tensor) -> Tensor:
        """The loss that training finds in some interactions: a scalar."""
        device = self.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed + int(place[0]))
            terms = self.model.loss(self.interactions.windows.rows(place).to(device))
        if self.model.weighting is not None and len(terms) > 1:
            terms = self.model.weighting(terms)
        return torch.stack(list(terms.values())).sum()

    def _count(self, gradient: Tensor) -> None:
        self.cost.backward += int((gradient != 0).sum())

    def loader(self, asked: int, places: Tensor, rows: int) -> DataLoader:
        """Batches (place, asked, label) of `rows`, as captum reads them; labels mean nothing."""
        kind = torch.full_like(places, asked)
        return DataLoader(TensorDataset(places, kind, torch.zeros_like(places)), rows)

    def rows(self, max_bytes: int) -> int:
        """How many gradients may be held at once, twice over, at least 1 and at most GRAPHS."""
        return max(1, min(GRAPHS, max_bytes // (8 * self.size)))


class Itself(nn.Module):
    """What captum calls a loss: here the model gives the losses already, one a row."""

    reduction = "none"

    def forward(self, said: Tensor, label: Tensor) -> Tensor:
        """(b,) as given."""
        return said


def learned(model: Recommender, parts: Sequence[str]) -> frozenset[str]:
    """The names of a model's parameters that learned and begin with one of `parts`; if none, all.

    Raises XrecError: nothing learned, or nothing goes by one of the names.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not names:
        raise XrecError(
            f"influence: nothing of the model {type(model).__name__} learned, so no training "
            "interaction had a bearing on it"
        )
    known = {
        start: [n for n in names if start in starts(n)] for name in names for start in starts(name)
    }
    for part in parts:
        if part not in known:
            raise XrecError(
                f"influence: parts: no parameter that learned goes by '{part}': "
                + nearest(part, known)
            )
    return frozenset(names if not parts else (n for part in parts for n in known[part]))
