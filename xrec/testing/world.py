"""A world of a few users and items, small enough to check a plugin on by enumeration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl
import torch
from torch import Tensor
from torch.nn import functional

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.data.tables import Tables
from xrec.models.inputs import Inputs
from xrec.models.recommender import Architecture, Recommender
from xrec.options import DataOptions, TrainOptions
from xrec.plugins import factory

GENRES = ("comedy", "drama", "crime")


def small_data(users: int = 12, items: int = 15, history: int = 6, seed: int = 0) -> Data:
    """Users with 4 to 9 events each, a profile of two attributes, items of one or two genres."""
    generator = torch.Generator().manual_seed(seed)
    events = []
    for user in range(users):
        count = int(torch.randint(4, 10, (), generator=generator))
        chosen = torch.randperm(items, generator=generator)[:count].tolist()
        events += [(f"u{user}", f"i{item}", at, 1.0, "watch") for at, item in enumerate(chosen)]
    schema = {
        "user": pl.String,
        "item": pl.String,
        "time": pl.Int64,
        "value": pl.Float64,
        "action": pl.String,
    }
    genres = [[GENRES[at % 3]] + [GENRES[(at + 1) % 3]] * (at % 2) for at in range(items)]
    tables = Tables(
        interactions=pl.DataFrame(events, schema=schema, orient="row"),
        items=pl.DataFrame(
            {
                "item": [f"i{at}" for at in range(items)],
                "title": [f"Film {at}" for at in range(items)],
                "text": [f"Film {at}, a {' and '.join(genres[at])}" for at in range(items)],
                "genre": genres,
            }
        ),
        users=pl.DataFrame(
            {
                "user": [f"u{at}" for at in range(users)],
                "age": ["young" if at % 2 else "old" for at in range(users)],
                "town": [None if at % 3 == 0 else f"town {at % 3}" for at in range(users)],
            }
        ),
    ).check("the small world")
    train = TrainOptions(epochs=1, batch=4, negatives=4)
    return Data(tables, DataOptions(history=history), train, seed)


@dataclass(frozen=True)
class SmallEncoder:
    """An encoder whose vectors are drawn from a seed."""

    seed: int = 0

    def digest(self) -> str:
        """The options are all there is."""
        return repr(self)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, 8) float32."""
        return torch.randn(len(texts), 8, generator=torch.Generator().manual_seed(self.seed))


def small_model(
    users: int = 4, history: int = 6, seed: int = 0, name: str = "sequential", **options: object
) -> tuple[Recommender, Inputs]:
    """An untrained model of the small world, and the inputs of its first test users.

    Their rivals are all other items that they have not had, best first.
    """
    torch.manual_seed(seed)
    data = small_data(history=history, seed=seed)
    encoder = SmallEncoder(seed)
    architecture: Architecture = factory("model", name)(**(options or {"width": 8}))
    model = architecture.build(data, encoder.encode(data.texts), encoder)
    model.eval()
    batch = data.queries("test", torch.arange(1, users + 1))
    with torch.no_grad():
        scores = model.catalogue(batch)
        out = data.seen(batch.user, "test").scatter(1, batch.candidate[:, None], True)
        out[:, 0] = True
        best = scores.masked_fill(out, -torch.inf).sort(dim=1, descending=True)
        rivals = torch.where(best.values > -torch.inf, best.indices, 0)
        return model, model.embed(batch).against(rivals)


def padded(batch: Batch) -> Batch:
    """The same rows with three more columns of padding on the left."""
    columns = ("history", "history_time", "history_action")
    return replace(batch, **{c: functional.pad(getattr(batch, c), (3, 0)) for c in columns})
