"""What a method looks at: how much of the training data, and which parts of the model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.influence.interactions import Interactions
from xrec.influence.objective import Objective
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class Scope:
    """The options that methods have in common.

    interactions: training interactions drawn to be looked at; all of the users' own come on top.
    parts: the beginnings of names of the parameters whose gradients are taken, up to a dot or the
        end, as in `views.identity`; all that learned, by default.
    top: interactions told for each recommendation, and as many against it.
    seed: of the draw, of the negatives, and of what a loss draws itself.
    max_bytes: of gradients, or of vectors as large, that are held at once.
    """

    interactions: int = 1000
    parts: list[str] = field(default_factory=list)
    top: int = 5
    seed: int = 0
    max_bytes: int = 2**29

    def __post_init__(self) -> None:
        for name in ("interactions", "top", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")

    @contextmanager
    def objective(self, model: Recommender, data: Data, queries: Batch) -> Iterator[Objective]:
        """What to differentiate; the random generators are left as they were, time is counted.

        Raises XrecError as `Objective` does.
        """
        begin = time.perf_counter()
        pool = Interactions.of(data, queries.user, self.interactions, self.seed)
        objective = Objective(model, pool, queries, self.parts, self.seed)
        on_gpu = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(on_gpu):
            yield objective
        objective.cost.seconds = time.perf_counter() - begin
