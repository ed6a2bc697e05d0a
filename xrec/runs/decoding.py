"""What the model would have recommended after each layer, as an artefact."""

from __future__ import annotations

import polars as pl
import torch

from xrec.errors import XrecError
from xrec.explain.layers import Decoded
from xrec.models.recommender import Recommender
from xrec.runs.run import Run

SHOWN = 3  # items that are kept of each layer
ROWS = 64  # users whose items are scored at once


def decode(run: Run) -> None:
    """Write `layers.parquet`: a row for each explained user and each depth of the model.

    layer: 0 before any, then after each. items, titles: what it would have recommended first, among
    the recommendation and its rivals. rank: of the recommendation. depth: the first layer from
    which on its first choice is the last one's.
    """
    if missing := _missing(run.model):
        run.tell(f"  {missing}: what it would recommend after each is left out")
        return
    table, batch, inputs = run.subject.table, run.subject.batch, run.subject.inputs
    assert inputs.rivals is not None
    items = torch.cat([batch.candidate[:, None], inputs.rivals], dim=1)
    with torch.no_grad():
        parts = [
            run.model.by_layer(inputs.rows(some), items[some])
            for some in torch.arange(len(items)).split(ROWS)
        ]
    said = [torch.cat(each) for each in zip(*parts, strict=True)]
    real = items > 0
    decoded = Decoded.of(said, real)
    best = items[:, None].expand_as(decoded.order).gather(2, decoded.order[..., :SHOWN])
    rows = [
        {
            **about,
            "layer": layer,
            "items": [run.data.items.ids[item] for item in first if item],
            "titles": [run.data.titles[item] for item in first if item],
            "rank": rank,
            "depth": depth,
        }
        for about, firsts, ranks, depth in zip(
            table.select("user", "item", "title").to_dicts(),
            best.tolist(),
            decoded.rank.tolist(),
            decoded.depth.tolist(),
            strict=True,
        )
        for layer, (first, rank) in enumerate(zip(firsts, ranks, strict=True))
    ]
    run.store.write_table("layers.parquet", pl.DataFrame(rows))
    told = {
        "layers": len(said) - 1,
        "users": len(items),
        "items": float(real.sum(1).float().mean()),
    }
    run.store.write_json("layers.json", told)


def _missing(model: Recommender) -> str:
    """Why there are no layers to look into, if there are none."""
    try:
        layers = model.layers_read
    except XrecError as error:
        return str(error)
    return "" if len(layers) else f"the model {type(model).__name__} has no layers to look into"
