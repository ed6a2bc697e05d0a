"""The gradient of each unit's own loss: all at once where the model's loss can be mapped over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from xrec.data.batches import Batch
from xrec.models.recommender import Recommender

ROWS = 32  # windows mapped over at once
NUMBERS = 2**24  # of gradients held at once, where units are taken one by one

#: Gradients (U, …) of some units for each parameter that learns, and their losses (U,).
Found = tuple[dict[nn.Parameter, Tensor], Tensor]


def maps(model: Recommender) -> bool:
    """Whether units are mapped over: not where a plugin changes batches or adds to the loss."""
    return model.mappable and not any(
        hook.get_hookimpls() for hook in (model.hook.xrec_batch, model.hook.xrec_loss)
    )


def each(model: Recommender, batch: Batch, sizes: Tensor) -> Iterator[Found]:
    """Of all units of a batch, some at a time; sizes (U,): the rows of each, which follow another.

    A unit's loss is what a training step would minimise if its batch were that unit's rows.
    """
    ends = sizes.cumsum(0)
    units = [torch.arange(int(end - size), int(end)) for end, size in zip(ends, sizes, strict=True)]
    return _mapped(model, batch, units) if maps(model) else _looped(model, batch, units)


def _looped(model: Recommender, batch: Batch, units: Sequence[Tensor]) -> Iterator[Found]:
    """One unit after another."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    together = max(1, NUMBERS // sum(parameter.numel() for parameter in learning))
    for at in range(0, len(units), together):
        gradients, losses = [], []
        for rows in units[at : at + together]:
            loss = reduce(add, model.terms(batch.rows(rows.to(batch.user.device))).values())
            found = torch.autograd.grad(loss, learning, allow_unused=True, materialize_grads=True)
            gradients.append(found)
            losses.append(loss.detach())
        stacked = [torch.stack(one) for one in zip(*gradients, strict=True)]
        yield dict(zip(learning, stacked, strict=True)), torch.stack(losses)


def _mapped(model: Recommender, batch: Batch, units: Sequence[Tensor]) -> Iterator[Found]:
    """Several units in one pass; those of as many rows go together, as all get as many."""
    asked = _Asked(model)
    learning = {f"model.{n}": p for n, p in model.named_parameters() if p.requires_grad}
    given = {name: parameter.detach() for name, parameter in learning.items()}

    def loss(weights: dict[str, Tensor], unit: dict[str, Tensor]) -> Tensor:
        found: Tensor = torch.func.functional_call(asked, weights, (unit,))
        return found

    find = torch.func.vmap(
        torch.func.grad_and_value(loss), in_dims=(None, 0), randomness="different"
    )
    order = sorted(units, key=len)
    while order:
        count = max(1, ROWS // len(order[-1]))
        some, order = order[-count:], order[:-count]
        gradients, losses = find(given, _stacked(batch, some))
        yield {learning[name]: found for name, found in gradients.items()}, losses


def _stacked(batch: Batch, units: Sequence[Tensor]) -> dict[str, Tensor]:
    """The tensors (U, W, …) of units; what a unit has less than W rows, its first is again.

    From that row nothing is learned.
    """
    most = max(map(len, units))
    rows = torch.stack([torch.cat([at, at[:1].expand(most - len(at))]) for at in units])
    fresh = torch.arange(most) < torch.tensor([len(at) for at in units])[:, None]
    rows, fresh = rows.to(batch.user.device), fresh.to(batch.user.device)
    found = batch.rows(rows)
    assert found.learned is not None
    found = replace(found, learned=found.learned & fresh[..., None])
    tensors = {field.name: getattr(found, field.name) for field in fields(Batch)}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


class _Asked(nn.Module):
    """A model's loss for a unit, as what `functional_call` calls."""

    def __init__(self, model: Recommender) -> None:
        super().__init__()
        self.model = model

    def forward(self, unit: dict[str, Tensor]) -> Tensor:
        """A number, for the tensors of a batch by name."""
        losses = self.model.mapped_loss(Batch(**unit))
        return reduce(add, self.model.weighted(losses).values())
