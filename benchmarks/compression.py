"""What does a smaller, faster model cost: in how it ranks, and in how it is explained?

Models of four recipes, `sequential` and `cross_encoder`, of the planted world and of MovieLens
100K, are compressed by chains of compressors (`chains.py`). Of each point:

    NDCG@10     of all test users, the whole catalogue ranked, with its 95 % bootstrap interval, and
                the paired gap to fp32 with its own
    bytes       of all numbers that the model keeps, in memory as in its file
    latency     of ranking one user's request, which for the cross-encoder is re-ranking what is
                retrieved: fp32 eager, fp32 under torch.compile
                and all chains take turns on the same requests
    order       Spearman's correlation of the model's logits with fp32's over the ten items that
                fp32 puts first, mean over users: two rankings can be worth the same, and differ
    drift       Spearman's correlation, over a row's features, of the model's explanations with
                those that the fp32 model gets for the same recommendations, mean over users: of
                Shapley values, and of Integrated Gradients where its gradients can be trusted

The fp32 model of which all are measured has its adapters merged.

    python benchmarks/compression.py [--full] [--dataset WORLD]

The short form is of tiny worlds and says nothing of quality. What was trained or compressed is kept
in the user's cache and not done again. The best chain of a cross-encoder is within 2 % of fp32's
NDCG@10, has 4 x fewer bytes, is 3 x quicker than eager and as quick as compiled, and of those that
do explains most like fp32. Ends with JSON, of the last cross-encoder and, under `worlds`, of each:
chain; bytes_ratio and speed_ratio, fp32 eager over it; speed_ratio_compiled, compiled fp32 over it;
ndcg_loss, relative, of the test users, and ndcg_loss_validation, of those who validate;
explanation_rank_correlation, of Shapley values.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from chains import FULL, SHORT, World
from frontier import LOSS, best, fronts, picture
from machine import arguments, finish, header, keep, tell_table
from platformdirs import user_cache_path
from points import (
    COMPILED,
    DRAWN,
    EAGER,
    GRADIENTS,
    ORDER,
    SHAPLEY,
    WARM_UP,
    Side,
    drift,
    paces,
    point,
    sides,
)

from xrec.errors import XrecError
from xrec.files import written

PACKAGES = (
    *("xrec", "torch", "torchao", "torch-pruning", "onnxruntime", "transformers", "lightning"),
    *("polars", "numpy"),
)
HEAD = (
    *("", "MB", "x", "NDCG@10 [95 %]", "gap to fp32, paired", "loss", "ms (quartiles)"),
    *("x eager [quartiles]", "x compiled", "order", "Shapley, rank", "gradients, rank"),
)
EVERY = "every world"
RECOMPILED = 128  # times that one piece of code may be: all sides' models are of the same code


def main() -> None:
    """Compress, measure, and tell, a world after another."""
    about = "What does a smaller model cost, in quality and in explanations?"
    given = arguments(about, (EVERY, *FULL))
    worlds = FULL if given.full else SHORT
    if given.dataset != EVERY:
        worlds = {given.dataset: worlds[given.dataset]}
    torch._dynamo.config.recompile_limit = RECOMPILED
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # else it would go on uncompiled
    settings = {
        "form": "full" if given.full else "short",
        "seed": {name: world.base().seed for name, world in worlds.items()},
        "threads": given.threads,
        "warm-up": f"every side ranks every request {WARM_UP} times, and once before each timed",
        "repeats": {name: f"{world.turns} turns" for name, world in worlds.items()},
    }
    header(PACKAGES, settings)
    models = user_cache_path("xrec") / "compression"
    rows: list[dict[str, Any]] = []
    users: list[pl.DataFrame] = []
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        for name, world in worlds.items():
            found[name], raw, each = measured(world, models)
            rows += [{"world": name, **row} for row in (*found[name], *raw)]
            users += [frame.select(pl.lit(name).alias("world"), pl.all()) for frame in each]
            tell(name, found[name])
            keep(given.out / "compression.csv", rows)  # it takes long: what was found is not lost
            torch._dynamo.reset()
    except XrecError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    with written(given.out / "compression.parquet") as partial:
        pl.concat(users, how="diagonal").write_parquet(partial, compression="zstd")
    picture(found, given.out / "compression.png")
    headlines = {name: best(found[name]) for name in found if "cross-encoder" in name}
    last = list(headlines.values())[-1] if headlines else {}
    finish(given.out / "compression.csv", rows, {**last, "worlds": headlines})


def measured(
    world: World, models: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[pl.DataFrame]]:
    """The points of a world, the raw rows of what it was measured by, and those of its users."""
    taking, refused = sides(world, models)
    for name, why in refused.items():
        print(f"{name}: cannot be had: {why}")
    turns = paces(world, taking)
    alike, said = drift(world, taking)
    plain = taking[0]
    points = [
        {
            "part": "point",
            **point(side, plain, turns, alike.get(side.name, {}), said.get(side.name, "")),
        }
        for side in taking
    ]
    raw = [{"part": "turn", **row} for row in turns]
    raw += [{"part": "refused", "chain": name, "why": why} for name, why in refused.items()]
    users = [of_users(side, alike.get(side.name, {})) for side in taking]
    return points, raw, [frame for each in users for frame in each]


def of_users(side: Side, alike: Mapping[str, torch.Tensor]) -> list[pl.DataFrame]:
    """What was measured of each user: the gain, and how alike an explanation is."""
    parts = {"ndcg@10": side.gains(), **{name: each.numpy() for name, each in alike.items()}}
    schema = {"chain": pl.String, "measure": pl.String, "value": pl.Float64}
    return [
        pl.DataFrame({"chain": side.name, "measure": name, "value": values}, schema)
        for name, values in parts.items()
    ]


def tell(world: str, points: Sequence[Mapping[str, Any]]) -> None:
    """Print what was found of a world; fp32's own Shapley values are told by other coalitions."""
    tell_table(world, HEAD, list(map(_cells, points)))
    for each in points:
        if each["gradients"]:
            print(f"{each['chain']}: {each['gradients']}")
    print(f"front, quickest first: {'; '.join(fronts(points))}")
    print(f"best within {LOSS:.0%}: {best(points)}", flush=True)


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        row["chain"],
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['bytes_ratio']:.2f}",
        _between(row, "ndcg10", 4),
        _between(row, "gap", 4),
        f"{row['loss']:.1%}",
        f"{row['ms']:.4g} ({row['ms low']:.4g} to {row['ms high']:.4g})",
        *(_between(row, f"wall times {than}", 2) for than in (EAGER, COMPILED)),
        _between(row, ORDER, 3),
        _between(row, SHAPLEY if SHAPLEY in row else DRAWN, 3),
        _between(row, GRADIENTS, 3),
    ]


def _between(row: Mapping[str, Any], key: str, digits: int) -> str:
    """A mean or a median with its interval or quartiles; a dash where it was not measured."""
    if key not in row:
        return "–"
    middle, low, high = (f"{row[each]:.{digits}f}" for each in (key, f"{key} low", f"{key} high"))
    return f"{middle} [{low}, {high}]"


if __name__ == "__main__":
    main()
