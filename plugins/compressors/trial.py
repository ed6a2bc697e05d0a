"""What a model loses on some training batches, asked for again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from xrec import plugins
from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.models.recommender import Recommender


@dataclass(frozen=True, eq=False)
class Trial:
    """A model in evaluation mode, and batches of which each always has the same loss.

    What a loss draws at random is drawn from the batch's own seed.
    """

    model: Recommender
    batches: Sequence[Batch]

    @classmethod
    def of(cls, model: Recommender, data: Data, batches: int, rows: int) -> Trial:
        """The first training batches, and of each the first rows."""
        some = [batch.rows(slice(0, rows)) for batch in islice(data.train_dataloader(), batches)]
        return cls(model, some)

    def loss(self, at: int) -> Tensor:
        """The training loss of a batch: a scalar."""
        model = self.model
        with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(at)
            batch = self.batches[at].to(model.device)
            batch = plugins.chain(model.hook.xrec_batch, batch, module=model, stage="train")
            terms = model.loss(batch)
        if model.weighting is not None and len(terms) > 1:
            terms = model.weighting(terms)
        return torch.stack(list(terms.values())).sum()
