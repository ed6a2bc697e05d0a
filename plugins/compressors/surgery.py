"""Taking units out of a model for good, by torch-pruning."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

from xrec.compress.blocks import Attention, Units, stacks
from xrec.errors import XrecError
from xrec_plugins.compressors.gates import Layers, Part, gated, states
from xrec_plugins.compressors.trial import Trial

NAME = "compressor structured_pruning"
TOLERANCE = 1e-3  # of a state, beside the largest of its layer


class Sketch(nn.Module):
    """How units depend on maps, and nothing else of a block, for torch-pruning to follow.

    What a block computes of its units, and how it looks from slot to slot, is of no account.
    """

    def __init__(self, units: Units) -> None:
        super().__init__()
        self.writers, self.reader = nn.ModuleList(units.writers), units.reader
        self.fused = units.fused

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, D) of (B, D)."""
        made = [writer(hidden) for writer in self.writers]
        first, *rest = made[0].chunk(3, dim=-1) if self.fused else made
        found: Tensor = self.reader(sum(rest, first))
        return found


def group(units: Units, at: Sequence[int] | None = None) -> torch_pruning.Group:
    """What must go together with units at some places, or with each of all."""
    sketch = Sketch(units)
    with torch.enable_grad():  # the graph is followed by what gradients are recorded of
        example = torch.zeros(1, units.writers[0].in_features, device=units.reader.weight.device)
        graph = torch_pruning.DependencyGraph().build_dependency(sketch, example)
    some = range(units.count) if at is None else at
    channels = [unit * units.size + each for unit in some for each in range(units.size)]
    return graph.get_pruning_group(
        units.reader, torch_pruning.prune_linear_in_channels, idxs=channels
    )


def remove(part: Part, gone: Sequence[int]) -> None:
    """Take units of a part out; at least one is left."""
    if isinstance(part, Layers):
        out = {part.at[each] for each in gone}
        part.stack.keep([at for at in range(len(part.stack.blocks)) if at not in out])
    elif gone:
        group(part, gone).prune()
        if isinstance(part, Attention):
            for table in part.columns:
                torch_pruning.prune_embedding_out_channels(table, list(gone))
            part.recount()


def cut(trial: Trial, parts: Sequence[tuple[Part, Sequence[int]]]) -> None:
    """Take units out of parts of a model, whose layers go on as if these units gave nothing.

    Raises XrecError where they do not: the model asks for its units in a way unknown here.
    """
    model = trial.model
    masks = [(part, _mask(part, gone).to(model.device)) for part, gone in parts]
    with gated(masks):
        wanted = _read(trial)
    try:
        for part, gone in parts:
            remove(part, gone)
        found = _read(trial)
        wrong = [name for name, each in found.items() if not _same(each, wanted[name])]
        why = f"{type(wrong[0]).__name__} says something else then" if wrong else ""
    except (RuntimeError, IndexError) as error:
        why = str(error).splitlines()[0]
    if why:
        raise XrecError(
            f"{NAME}: units cannot be taken out of the model {type(model).__name__}, as more than "
            f"its layers' own linear maps asks for them ({why}): choose other layers by `only`, or "
            "prune layers alone"
        )


def _mask(part: Part, gone: Sequence[int]) -> Tensor:
    """(n,) 0 of the units that go, else 1."""
    mask = torch.ones(part.count)
    mask[list(gone)] = 0
    return mask


@torch.no_grad()
def _read(trial: Trial) -> dict[nn.Module, Tensor]:
    """(B, S, D) the states after each layer, as the first batch's loss last asked for them."""
    found: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, given: Any, said: Any) -> None:
        found[module] = states(said)

    with ExitStack() as hooks:
        for stack in stacks(trial.model):
            for block in stack.blocks:
                hooks.enter_context(block.module.register_forward_hook(note))
        trial.loss(0)
    return found


def _same(found: Tensor, wanted: Tensor) -> bool:
    """Whether states (B, S, D) are alike, of the last slots where one has fewer."""
    count = min(found.shape[1], wanted.shape[1])
    found, wanted = found[:, -count:], wanted[:, -count:]
    bound = TOLERANCE * float(wanted.nan_to_num().abs().max())
    return torch.allclose(found, wanted, rtol=0, atol=bound, equal_nan=True)
