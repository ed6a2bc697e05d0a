"""What influence methods differentiate: the losses of interactions, the logits of queries."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

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


class Objective(nn.Module):
    """A function from interactions and queries to numbers, by the parameters of a model.

    numbers: those that learned and whose names begin with one of `parts`, up to a dot or the end;
        all that learned where `parts` is empty. They are copies, one that is a scalar as a vector
        of one: captum takes the first dimension of a gradient to be the batch's, and sums a
        scalar's over it. names: what the model calls each.

    What is asked for is found by a copy of the model in evaluation mode. What a loss draws at
    random, such as negatives of its own, is the same whenever it is asked for.

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
        self.names = learned(model, parts)
        self.interactions, self.queries, self.cost = interactions, queries, Cost()
        twin = copy.deepcopy(model).eval().requires_grad_(False)
        # Within a tuple, the twin's parameters are not this module's, as those of a child would be.
        self._asked = (_Asked(twin, interactions, queries, seed),)
        self.numbers = nn.ParameterList(
            torch.atleast_1d(model.get_parameter(name).detach().clone()) for name in self.names
        )

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(number.numel() for number in self.numbers)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put other weights in the model's place. Raises XrecError: they are of another model."""
        twin = self._asked[0].model
        try:
            twin.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise XrecError(
                f"the weights are of another model than {type(twin).__name__}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        with torch.no_grad():
            for name, number in zip(self.names, self.numbers, strict=True):
                number.copy_(twin.get_parameter(name))

    def forward(self, place: Tensor, kind: Tensor) -> Tensor:
        """(b,) numbers of the interactions or queries at `place` (b,).

        kind (b,), alike in all: EACH, the loss of each interaction; TOGETHER, their mean loss, b
        times, as one pass of training finds it; QUERIES, minus the logit of each query, so that
        what lowers it raises the logit.
        """
        asked = self._asked[0]
        shapes = [asked.model.get_parameter(name).shape for name in self.names]
        pairs = zip(self.names, self.numbers, shapes, strict=True)
        given = {f"model.{name}": number.view(shape) for name, number, shape in pairs}
        said: Tensor = torch.func.functional_call(asked, given, (place, int(kind[0])))
        self.cost.forward += len(place)
        if said.requires_grad:
            said.register_hook(self._count)
        # A parameter that has no bearing has a gradient of 0, where autograd would have none.
        return said + 0 * torch.stack([number.sum() for number in self.numbers]).sum()

    def _count(self, gradient: Tensor) -> None:
        self.cost.backward += int((gradient != 0).sum())

    def loader(self, asked: int, places: Tensor, rows: int = 1) -> DataLoader:
        """Batches (place, kind, label) of `rows`, as captum reads them; labels mean nothing.

        One row at a time is both the least memory and the least time where captum takes a gradient
        for each row: every one goes back through the graphs of all rows of its batch.
        """
        kind = torch.full_like(places, asked)
        return DataLoader(TensorDataset(places, kind, torch.zeros_like(places)), rows)


class _Asked(nn.Module):
    """What a model says to what an objective is asked for."""

    def __init__(
        self, model: Recommender, interactions: Interactions, queries: Batch, seed: int
    ) -> None:
        super().__init__()
        self.model, self.interactions, self.queries, self.seed = model, interactions, queries, seed

    def forward(self, place: Tensor, kind: int) -> Tensor:
        """(b,) as `Objective.forward` has it."""
        if kind == QUERIES:
            said: Tensor = -self.model(self.queries.rows(place).to(self.model.device))
            return said
        if kind == TOGETHER:
            return self._loss(place).expand(len(place))
        return torch.stack([self._loss(one) for one in place.split(1)])

    def _loss(self, place: Tensor) -> Tensor:
        """The loss that training finds in some interactions: a scalar."""
        device = self.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed + int(place[0]))
            terms = self.model.loss(self.interactions.windows.rows(place).to(device))
        if self.model.weighting is not None and len(terms) > 1:
            terms = self.model.weighting(terms)
        return torch.stack(list(terms.values())).sum()


class Itself(nn.Module):
    """What captum calls a loss: here the model gives the losses already, one a row."""

    reduction = "none"

    def forward(self, said: Tensor, label: Tensor) -> Tensor:
        """(b,) as given."""
        return said


def learned(model: Recommender, parts: Sequence[str]) -> tuple[str, ...]:
    """The names of a model's parameters that learned and begin with one of `parts`; if none, all.

    Raises XrecError: nothing learned, or nothing goes by one of the names.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not names:
        raise XrecError(
            f"influence: nothing of the model {type(model).__name__} learned, so no training "
            "interaction had a bearing on it"
        )
    known = {start for name in names for start in starts(name)}
    for part in parts:
        if part not in known:
            raise XrecError(
                f"influence: parts: no parameter that learned goes by '{part}': "
                + nearest(part, known)
            )
    return tuple(name for name in names if not parts or not set(parts).isdisjoint(starts(name)))
