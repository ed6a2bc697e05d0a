"""Which units of a model may be taken out, and how many of them are to go."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from xrec.compress.blocks import Block, Stack, Units, stacks
from xrec.errors import XrecError, nearest
from xrec.models.rates import starts
from xrec_plugins.compressors.gates import Layers, Part
from xrec_plugins.compressors.importance import Pool
from xrec_plugins.compressors.surgery import NAME

KINDS = {"layers": "layers", "heads": "attention heads", "width": "hidden units"}


@dataclass(frozen=True, eq=False)
class Whole:
    """A model, and what its transformers were before anything was pruned.

    chosen: the layers that may be pruned. layers: how many these are, by transformer. units: how
    many units each map that reads some had to read.
    """

    model: nn.Module
    chosen: frozenset[nn.Module]
    layers: Mapping[str, int]
    units: Mapping[nn.Module, int]

    @classmethod
    def of(cls, model: nn.Module, only: Sequence[str]) -> Whole:
        """All layers, or those whose names begin with one of `only`.

        Raises XrecError: there is no transformer, or no layer goes by one of the names.
        """
        found = stacks(model)
        blocks = [block for stack in found for block in stack.blocks]
        if not blocks:
            raise XrecError(
                f"{NAME}: the model {type(model).__name__} has no transformer of which torch-"
                "pruning could take anything out: leave it out, or prune before other steps"
            )
        known = {start for block in blocks for start in starts(block.name)}
        for name in only:
            if name not in known:
                raise XrecError(
                    f"{NAME}: only: no layers of the model {type(model).__name__} go by "
                    f"'{name}': {nearest(name, known)}"
                )
        some = {
            block for block in blocks if not only or not set(only).isdisjoint(starts(block.name))
        }
        return cls(
            model,
            frozenset(block.module for block in some),
            {stack.name: len(some.intersection(stack.blocks)) for stack in found},
            {each.reader: each.count for block in some for each in units(block).values()},
        )

    def check(self, kind: str, share: float) -> None:
        """Raise XrecError where a share of units is none, or is so many that too few are left."""
        one = "" if kind == "layers" else ", one a layer"
        for stack, pool in self._pools(kind, share):
            goes = pool.count - pool.kept
            least, has = len(pool.parts), f"{stack.name} has {counted(pool.count, kind)}"
            if pool.count == least:
                raise XrecError(
                    f"{NAME}: {kind}: {has}{one}, too few for any to go: choose other layers by "
                    f"`only`, or leave out {kind}"
                )
            if not goes:
                raise XrecError(
                    f"{NAME}: {kind}: {has}, of which a share of {share} is none: make it "
                    f"{math.ceil(100 * (0.5 / pool.count)) / 100} or more"
                )
            if pool.kept < least:
                raise XrecError(
                    f"{NAME}: {kind}: {has}, of which a share of {share} leaves too few, as "
                    f"{least} must stay{one}: make it less"
                )

    def pools(self, kind: str, share: float) -> list[Pool]:
        """The units of a kind, by transformer, with how many are kept where a share is gone.

        The share is of all that the layers which are left had at first.
        """
        return [
            Pool(pool.parts, min(max(pool.kept, len(pool.parts)), pool.count))
            for _, pool in self._pools(kind, share)
        ]

    def _pools(self, kind: str, share: float) -> list[tuple[Stack, Pool]]:
        found = []
        for stack in stacks(self.model):
            at = tuple(i for i, block in enumerate(stack.blocks) if block.module in self.chosen)
            parts: list[Part]
            if kind == "layers":
                parts, count = [Layers(stack, at)], self.layers[stack.name]
            else:
                some = [_units(stack.blocks[each], kind) for each in at]
                parts, count = [*some], sum(self.units[each.reader] for each in some)
            if at:
                found.append((stack, Pool(parts, count - math.floor(share * count + 0.5))))
        return found


def counted(count: int, kind: str) -> str:
    """So many units, in words."""
    return f"{count:,} {KINDS[kind] if count != 1 else KINDS[kind].removesuffix('s')}"


def units(block: Block) -> dict[str, Units]:
    """What can be taken out of a layer, by kind."""
    both = {"heads": block.attention, "width": block.feed}
    return {kind: each for kind, each in both.items() if each is not None}


def _units(block: Block, kind: str) -> Units:
    found = units(block)
    if kind not in found:
        raise XrecError(
            f"{NAME}: {kind}: torch-pruning cannot take {KINDS[kind]} out of {block.name} "
            f"({type(block.module).__name__}), whose maps are fused, rounded or of another kind "
            f"than those known: choose other layers by `only`, leave out {kind}, or prune before "
            "other steps"
        )
    return found[kind]
