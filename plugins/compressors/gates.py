"""Gates: numbers that what a part of a model adds is multiplied with; at 0 it is as if removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from xrec.compress.blocks import Block, Stack, Units


@dataclass(frozen=True, eq=False)
class Layers:
    """Layers of a stack, as units that can be taken out: some blocks, at their places in it."""

    stack: Stack
    at: tuple[int, ...]

    @property
    def blocks(self) -> list[Block]:
        """The layers."""
        return [self.stack.blocks[each] for each in self.at]

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.at)


Part = Units | Layers


@contextmanager
def gated(gates: Iterable[tuple[Part, Tensor]]) -> Iterator[None]:
    """Multiply what the units of parts add with gates (n,) of each, for a while.

    A head or hidden unit is multiplied before it is read (Michel et al., 2019); of a layer, what it
    changes in its states: at 0 they go past it.
    """
    with ExitStack() as hooks:
        for part, gate in gates:
            if isinstance(part, Units):
                hooks.enter_context(_units(part, gate))
            else:
                for block, one in zip(part.blocks, gate, strict=True):
                    hooks.enter_context(_layer(block, one))
        yield


def _units(units: Units, gate: Tensor) -> RemovableHandle:
    def multiplied(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        return (given[0] * gate.repeat_interleave(units.size),)

    return units.reader.register_forward_pre_hook(multiplied)


def _layer(block: Block, gate: Tensor) -> RemovableHandle:
    def multiplied(module: nn.Module, given: Any, named: dict[str, Any], found: Any) -> Any:
        after = states(found)
        before = given[0] if given else named["hidden_states"]
        mixed = before[:, -after.shape[1] :].lerp(after, gate)
        return (mixed, *found[1:]) if isinstance(found, tuple) else mixed

    return block.module.register_forward_hook(multiplied, with_kwargs=True)


def states(found: Any) -> Tensor:
    """(B, S, D) of what a layer gave: these, or a tuple that begins with them."""
    given: Tensor = found[0] if isinstance(found, tuple) else found
    return given
