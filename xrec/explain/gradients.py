"""The target as a function of feature vectors, for explainers that go by its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xrec.errors import XrecError
from xrec.explain.memory import bound
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

VECTORS = 4 * 2**20  # bytes of feature vectors at once: more is no faster
KEPT = 256  # times its feature vectors: what a row keeps for its gradient, in large models


def sloped(said: Tensor, values: Tensor) -> Tensor:
    """(N,) what a model said of vectors, which has a gradient if they ask for one.

    Raises XrecError: it has none, as of a model that was quantised.
    """
    if torch.is_grad_enabled() and values.requires_grad and not said.requires_grad:
        raise XrecError(
            "the model lets no gradient through to its inputs: explain it by an explainer that "
            "takes features away, such as kernel_shap"
        )
    return said


def trusted(model: Recommender) -> None:
    """Raise XrecError for a model whose input gradients were found not to be true."""
    if not model.slope.trusted:
        raise XrecError(model.slope.said)


class Gradients:
    """What `target` says of a row whose slots hold other vectors: `of(values, row)`.

    It is called as captum calls a model: values (N, F, D), and row (N,) int64 as the additional
    argument, which of the B rows of `inputs` each is; it gives (N,). Use it inside `xrec.probe`.

    vectors (B, F, D): those of the inputs, without history of gradients.
    """

    def __init__(self, model: Recommender, inputs: Inputs, target: Target) -> None:
        trusted(model)
        self.model, self.inputs, self.target = model, inputs, target
        self.vectors = inputs.values.detach()
        self._bare = inputs.with_values(self.vectors[..., :0])  # so that rows copy no vectors
        vectors = min(VECTORS, bound() // KEPT)
        self.at_once = max(1, vectors // (self.vectors[0].nbytes + 1))

    def __call__(self, values: Tensor, row: Tensor) -> Tensor:
        """(N,) the target of rows with other vectors. Raises XrecError as `sloped` does."""
        said = self.target(self.model, self._bare.rows(row).with_values(values))
        return sloped(said, values)

    @property
    def all_rows(self) -> Tensor:
        """(B,) int64: 0, 1, 2, …"""
        return torch.arange(len(self.inputs), device=self.vectors.device)

    def by_chunks(self, attribute: Callable[[Tensor], Tensor], copies: int = 1) -> Tensor:
        """(B, …) what `attribute` gives of rows (n,), as many at a time as memory is meant for.

        copies: how many times it asks for each row at once.
        """
        chunks = self.all_rows.split(max(1, self.at_once // copies))
        return torch.cat([attribute(rows) for rows in chunks])

    def by_slope(self, method: Any) -> Tensor:
        """(B, F) what a method of captum's that takes one gradient says of each slot's vector."""

        def attribute(rows: Tensor) -> Tensor:
            vectors = self.vectors[rows].requires_grad_()
            found: Tensor = method.attribute(vectors, additional_forward_args=(rows,))
            return found.sum(-1)

        return self.by_chunks(attribute)

    @torch.no_grad()
    def said(self, values: Tensor) -> Tensor:
        """(B,) the target of all rows with vectors (B, F, D)."""
        return self.by_chunks(lambda rows: self(values[rows], rows))

    def score(self) -> Tensor:
        """(B,) the target of the inputs as they are."""
        return self.said(self.vectors)

    def replaced(self, values: Tensor) -> Tensor:
        """(B, F, D) the vectors with those of all players replaced by what `values` has there."""
        return torch.where(self.inputs.players[..., None], values, self.vectors)

    def base(self) -> Tensor:
        """(B,) the target with the vectors of all players zero."""
        return self.said(self.replaced(torch.zeros_like(self.vectors)))

    def slots(self, row: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """A row's players alone: vectors (1, n, D), and the target as a function of (N, n, D).

        What is drawn for them does not depend on how many other slots there are.
        """
        players = self.inputs.players[row].nonzero()[:, 0]
        whole = self.vectors[row]

        def said(values: Tensor) -> Tensor:
            full = whole.expand(len(values), -1, -1).index_copy(1, players, values)
            return self(full, torch.full((len(values),), row, device=full.device))

        return whole[players][None], said

    def row_by_row(
        self, attribute: Callable[[int, Tensor, Callable[[Tensor], Tensor]], Tensor]
    ) -> Tensor:
        """(B, F) what `attribute(row, *slots(row))` gives (n,) of each row's players, 0 elsewhere.

        A row without players is not asked for.
        """
        values = torch.zeros_like(self.vectors[..., 0])
        for row, players in enumerate(self.inputs.players):
            if players.any():
                values[row, players] = attribute(row, *self.slots(row))
        return values
