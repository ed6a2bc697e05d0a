"""Attention heads, hidden units and whole layers taken out of a model, by torch-pruning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xrec import hookimpl
from xrec.compress.blocks import Stack, stacks
from xrec.compress.compressor import Tell
from xrec.data.module import Data
from xrec.errors import nearest
from xrec.models.recommender import Recommender
from xrec.runs.finetuning import finetune
from xrec_plugins.compressors.importance import IMPORTANCES, weakest
from xrec_plugins.compressors.shares import KINDS, Whole, counted, units
from xrec_plugins.compressors.surgery import cut, remove
from xrec_plugins.compressors.trial import Trial


@dataclass(frozen=True)
class StructuredPruning:
    """Units that matter least are taken out of each transformer of a model; its width stays.

    heads, width, layers: the share that goes of the attention heads, of the hidden units of
        feed-forward nets, and of the layers; 0, of none. Units of one transformer are ranked
        together, and each layer that is left keeps one at least.
    importance: "magnitude", by weights; "taylor", by what the training loss would change by to the
        first order; "learned", by gates that are trained. Of layers, the first two go by the loss
        without each.
    steps: parts in which they go, with importance found anew for each.
    epochs, lr: of training after each part; 0 epochs: none.
    batches, rows: of training data that importance is found by: a gate moves once a batch.
    only: what is pruned, by the beginnings of layers' names, as in `layers.0`; all, by default.
    """

    heads: float = 0.0
    width: float = 0.0
    layers: float = 0.0
    importance: str = "taylor"
    steps: int = 1
    epochs: int = 1
    lr: float = 1e-4
    batches: int = 32
    rows: int = 16
    only: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in KINDS:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, it must be between 0 and 1: the share that "
                    "goes, 0 for none"
                )
        if not any(getattr(self, name) for name in KINDS):
            raise ValueError("nothing would go: set heads, width or layers to a share above 0")
        if self.importance not in IMPORTANCES:
            raise ValueError(
                f"importance is '{self.importance}': {nearest(self.importance, IMPORTANCES)}"
            )
        for name, least in {"steps": 1, "epochs": 0, "batches": 1, "rows": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least {least}")
        if self.lr <= 0:
            raise ValueError(f"lr is {self.lr}, it must be above 0")

    def compress(self, model: Recommender, data: Data, tell: Tell) -> Recommender:
        """Prune, and train what is left, as often as asked.

        Raises XrecError: a name is unknown, a transformer too small, or made in a way that units
        cannot be taken out of; TrainingError as training does.
        """
        model.eval()
        for stack in stacks(model):
            stack.renumber()
        whole = Whole.of(model, self.only)
        for kind, share in self._shares.items():
            whole.check(kind, share)
        trial = Trial.of(model, data, self.batches, self.rows)
        for step in range(1, self.steps + 1):
            for kind, share in self._shares.items():
                for pool in whole.pools(kind, share * step / self.steps):
                    scores = IMPORTANCES[self.importance](trial, pool)
                    cut(trial, list(zip(pool.parts, weakest(scores, pool.kept), strict=True)))
            tell(f"  pruned, {step} of {self.steps}: {_told(model)}")
            if self.epochs:
                finetune(model, data, self.epochs, self.lr, tell)
        model.on_validation_start()  # an encoder that learns reads the catalogue again
        return model

    @property
    def _shares(self) -> dict[str, float]:
        """What goes of each kind, layers first, as what goes with them need not be ranked."""
        return {kind: getattr(self, kind) for kind in KINDS if getattr(self, kind)}

    def form(self, model: Recommender) -> dict[str, Any]:
        """Of each transformer, the layers that are left: their old places, heads and widths."""
        return {
            stack.name: [
                {"place": place, **{kind: each.count for kind, each in units(block).items()}}
                for place, block in zip(stack.places, stack.blocks, strict=True)
            ]
            for stack in stacks(model)
        }

    def shaped(self, model: Recommender, form: Mapping[str, Any]) -> Recommender:
        """The model with as many units; which, is of no account."""
        for stack in stacks(model):
            left = form[stack.name]
            for at in left:
                for kind, each in units(stack.blocks[at["place"]]).items():
                    remove(each, range(at[kind], each.count))
            stack.renumber()
            stack.keep([at["place"] for at in left])
        return model


def _told(model: Recommender) -> str:
    """What each transformer has."""
    return "; ".join(f"{each.name} has {', '.join(_counted(each))}" for each in stacks(model))


def _counted(stack: Stack) -> list[str]:
    found = Counter(layers=len(stack.blocks))
    for block in stack.blocks:
        found.update({kind: each.count for kind, each in units(block).items()})
    return [counted(count, kind) for kind, count in found.items()]


@hookimpl
def xrec_compressors() -> dict[str, type]:
    """Offer structured pruning."""
    return {"structured_pruning": StructuredPruning}
