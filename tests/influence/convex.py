"""A recommender whose training has one minimum, and what it would be without an interaction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, ITEM, FeatureIndex
from xrec.data.module import Data
from xrec.influence.interactions import Interactions
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_data

PENALTY = 0.05  # the loss has half of it times the squared weights


class Logistic(Recommender):
    """Weights times fixed numbers of item and history: logistic regression on pairs."""

    def __init__(self, data: Data, width: int = 4) -> None:
        super().__init__(data)
        generator = torch.Generator().manual_seed(7)
        self.register_buffer("known", torch.randn(len(data.items), width, generator=generator))
        self.weight = nn.Parameter(torch.zeros(2 * width))

    def embed(self, batch: Batch) -> Inputs:
        item = self.known[batch.candidate]
        had = batch.history > 0
        mean = (self.known[batch.history] * had[..., None]).sum(1) / had.sum(1).clamp(min=1)[
            :, None
        ]
        values = torch.cat([item, item * mean], dim=1)[:, None]
        group = torch.full((len(batch), 1), ITEM)
        features = FeatureIndex(
            group,
            batch.candidate[:, None],
            torch.full_like(group, -1),
            {ITEM: ("",) * 99, BEHAVIOUR: ()},
        )
        return Inputs(values, torch.ones_like(group, dtype=torch.bool), features)

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        return torch.where(inputs.present[..., None], inputs.values, 0)[:, 0] @ self.weight


def converged(model: Logistic, windows: Batch, out_of: int) -> Logistic:
    """The model at the minimum of the summed loss of windows over `out_of`, and its penalty."""
    optimizer = torch.optim.LBFGS(
        [model.weight],
        max_iter=500,
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        (loss,) = model.loss(windows).values()
        total = loss * len(windows) / out_of + PENALTY / 2 * model.weight.square().sum()
        total.backward()
        return total

    optimizer.step(closure)
    model.weight.grad = None
    return model


def world(users: int = 12) -> tuple[Data, Interactions, Batch]:
    """Data, all training interactions, and a few test queries."""
    data = small_data(users=users)
    pool = Interactions.of(data, torch.empty(0, dtype=torch.long), 10_000, 0)
    return data, pool, data.queries("test", torch.arange(1, 5))


def without(pool: Interactions, at: int) -> Batch:
    """All interactions but one."""
    return pool.windows.rows(torch.arange(len(pool)) != at)
