"""Steps of compression, one after another: what each does to a model, and that model again."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xrec import plugins
from xrec.compress.compressor import Compressor, Reshaping, Rounding, Tell
from xrec.compress.pace import paces
from xrec.compress.slopes import Agreement, agreement, judged
from xrec.compress.state import load, size
from xrec.data.module import Data
from xrec.models.quality import CUTOFF, Ranked, ranking_metrics
from xrec.models.recommender import Recommender

QUALITY = f"ndcg@{CUTOFF}"
ROWS = 32  # validation users whose gradients are compared, and who are waited for


@dataclass(frozen=True)
class Taken:
    """A step of a chain that was taken.

    model: what it gave. form: of a step that reshapes. before, after: parameters, bytes, seconds
    (to rank the catalogue for one user) and the quality, NDCG@10 over the validation users.
    """

    model: Recommender
    form: dict[str, Any]
    before: dict[str, float]
    after: dict[str, float]
    gradients: Agreement

    @property
    def drop(self) -> float:
        """The share of the quality that it took, below 0 where it added."""
        before = self.before[QUALITY]
        return 1 - self.after[QUALITY] / before if before else 0.0

    def told(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "form": self.form,
            "before": self.before,
            "after": self.after,
            "drop": self.drop,
            "gradients": self.gradients.told(),
            "straight_through": self.model.slope.straight_through,
        }


def take(compressor: Compressor, model: Recommender, data: Data, tell: Tell) -> Taken:
    """Compress a copy of a model, and measure both. Raises XrecError as the compressor does."""
    made = compressor.compress(copy.deepcopy(model), data, tell).eval()
    form = compressor.form(made) if isinstance(compressor, Reshaping) else {}
    batch = data.queries("validate").rows(slice(0, ROWS))
    with torch.no_grad():
        inputs = made.embed(batch)
    twin = compressor.twin(made) if isinstance(compressor, Rounding) else None
    found = agreement(made, twin, inputs)
    made.slope = judged(found, made.slope.straight_through)
    before, after = (
        {**size(each), "seconds": pace, QUALITY: float(validated(each, data).mean())}
        for each, pace in zip((model, made), paces((model, made), batch), strict=True)
    )
    return Taken(made, form, before, after, found)


@torch.no_grad()
def validated(model: Recommender, data: Data) -> Tensor:
    """(U,) NDCG@10 of each validation user."""
    parts = []
    for batch in data.val_dataloader():
        batch = plugins.chain(model.hook.xrec_batch, batch, module=model, stage="validate")
        left_out = data.left_out(batch.user, "validate")
        parts.append(Ranked.of(model.catalogue(batch), batch, left_out))
    return ranking_metrics(Ranked.joined(parts).rank)[QUALITY]


def rebuilt(
    model: Recommender,
    steps: Sequence[tuple[Compressor, Mapping[str, Any]]],
    tensors: Mapping[str, Tensor],
    source: str,
) -> Recommender:
    """What a chain made, from a fresh model: `steps` are compressors with what they told.

    tensors: the state after the last, from the file `source`. Raises RunError: they do not fit.
    """
    model.settle()
    for compressor, told in steps:
        if isinstance(compressor, Reshaping):
            model = compressor.shaped(model, told["form"])
    last = steps[-1][1]
    load(model, tensors, source)
    model.slope = judged(Agreement(**last["gradients"]), last["straight_through"])
    return model.eval()
