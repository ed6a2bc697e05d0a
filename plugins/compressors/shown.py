"""What a model shows of itself as it scores: its logits, states, attention and explanation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass
class Shown:
    """Of B rows, with R rivals of the item.

    said (B, 1 + R): what the model says of the item and of each rival.
    states: after each layer, (B, S, D) of slots, and which of them (B, S) count.
    maps: each layer's attention (B, H, S, S), and which rows (B, S) of it count.
    slopes (B, F), optional: the gradient of the item's score times each feature's vector, 0 for
    what is no feature.
    """

    said: Tensor
    states: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    maps: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    slopes: Tensor | None = None


def show(
    model: Recommender,
    inputs: Inputs,
    rivals: Tensor,
    *,
    states: bool = False,
    maps: bool = False,
    slopes: bool = False,
) -> Shown:
    """Score rows once, and see what is asked for; rivals (B, R) int64, R may be 0.

    What is seen has a graph, that of the slopes too, where the model's parameters learn.
    Raises XrecError: attention is asked of a model without.
    """
    learns = any(parameter.requires_grad for parameter in model.parameters())
    values = inputs.values
    if slopes and not values.requires_grad:
        values = values.detach().requires_grad_()
    heard: dict[int, tuple[int, Tensor]] = {}
    with ExitStack() as within:
        within.enter_context(torch.set_grad_enabled(learns or slopes))
        if states:
            within.enter_context(_hearing(model.layers_read, heard))
        readings = within.enter_context(model.watched()) if maps else []
        if slopes:  # the fused ways of attention have no second derivative
            within.enter_context(sdpa_kernel(SDPBackend.MATH))
        asked = inputs.with_values(values)
        said = model.compared(asked, rivals) if rivals.shape[1] else model.score(asked)[:, None]
        found = Shown(said)
        if slopes:
            found.slopes = _slopes(said[:, 0], asked, learns)
    start = model.read_from(inputs)
    for _, (read, gave) in sorted(heard.items()):
        found.states.append((gave, _real(inputs, start, gave.shape[1], gave.shape[1] == read)))
    for reading in readings[:1]:
        for each in reading.maps:
            found.maps.append((each, _real(inputs, reading.start, each.shape[2], True)))
    return found


def _slopes(score: Tensor, asked: Inputs, learns: bool) -> Tensor:
    """(B, F) gradient times vector."""
    (gradient,) = torch.autograd.grad(
        score.sum(), asked.values, create_graph=learns, retain_graph=True
    )
    return torch.where(asked.players, (gradient * asked.values).sum(-1), 0)


def _real(inputs: Inputs, start: int, count: int, whole: bool) -> Tensor:
    """(B, S) which of `count` slots from `start` on count.

    Where a layer gave fewer slots than it read, these are what the score is made of: all count.
    """
    if whole:
        return inputs.present[:, start : start + count]
    return inputs.present.new_ones(len(inputs), count)


@contextmanager
def _hearing(layers: Sequence[nn.Module], heard: dict[int, tuple[int, Tensor]]) -> Iterator[None]:
    """Within, keep how many slots each layer first reads, and the states that it gives."""

    def hear(at: int) -> Any:
        def hook(
            layer: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any], gave: Any
        ) -> None:
            before = next(each for each in (*given, *named.values()) if isinstance(each, Tensor))
            heard.setdefault(at, (before.shape[1], gave[0] if isinstance(gave, tuple) else gave))

        return hook

    hooks = [
        layer.register_forward_hook(hear(at), with_kwargs=True) for at, layer in enumerate(layers)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
