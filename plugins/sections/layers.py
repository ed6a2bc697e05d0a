"""What the model would have recommended after each of its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from xrec import hookimpl
from xrec.report.drawing import columns, course
from xrec.report.section import Chapter, Picture, Table, Text
from xrec.report.words import percent
from xrec.runs.run import Run

ABOUT = (
    "After each layer the model's state went through its last step as if there were no layer to "
    "come, and the recommendation and {items:,.0f} items that might be shown instead, on average, "
    "were ranked by it. A layer learned to be read by the next one, not by the last step: an early "
    "disagreement may say that it speaks another language, not that it knows no better. "
)


@dataclass(frozen=True)
class Layers:
    """At which layer the recommendation appears, how often and where it stood before."""

    def render(self, run: Run) -> Chapter:
        """Read `layers.parquet` and `layers.json`; no blocks for a model without layers."""
        title = "How the recommendation comes about, layer by layer"
        if not (run.folder / "layers.json").is_file():
            return Chapter(title)
        told, rows = run.store.json("layers.json"), run.store.table("layers.parquet")
        by_layer = rows.group_by("layer", maintain_order=True).agg(
            first=(pl.col("rank") == 1).mean(), rank=pl.col("rank").median()
        )
        depths = rows.filter(pl.col("layer") == 0)["depth"].to_list()
        users = rows["user"].unique(maintain_order=True)[: run.recipe.report.explained]
        return Chapter(
            title,
            [
                Text(ABOUT.format(items=told["items"] - 1) + _found(depths, told["layers"])),
                _agreement(by_layer),
                _place(by_layer),
                _depths(depths, told["layers"]),
                *(_decoded(rows.filter(pl.col("user") == user)) for user in users),
            ],
        )


def _found(depths: list[int], layers: int) -> str:
    """How early the answer stands."""
    count = len(depths)
    at_once = sum(depth == 0 for depth in depths)
    late = sum(depth == layers for depth in depths)
    return (
        "What comes first in the end comes first, for good, before any layer for "
        f"{percent(at_once / count)} of {count:,} users, and only after the last of {layers} for "
        f"{percent(late / count)}."
    )


def _agreement(by_layer: pl.DataFrame) -> Picture:
    layers, shares = by_layer["layer"].to_list(), by_layer["first"].to_list()
    each = "; ".join(f"{at}: {percent(share)}" for at, share in zip(layers, shares, strict=True))
    return Picture(
        course(layers, shares, title="layer (0: before any)"),
        f"Share of users whose recommendation stands first after each layer, 0 before any: {each}.",
        "How often the recommendation stands first",
    )


def _place(by_layer: pl.DataFrame) -> Picture:
    layers, ranks = by_layer["layer"].to_list(), by_layer["rank"].to_list()
    each = "; ".join(f"{at}: {rank:g}" for at, rank in zip(layers, ranks, strict=True))
    return Picture(
        course(layers, ranks, title="layer (0: before any); 1 is best"),
        f"The recommendation's median place after each layer, 0 before any: {each}.",
        "Where the recommendation stands (median place)",
    )


def _depths(depths: list[int], layers: int) -> Picture:
    counts = [depths.count(depth) for depth in range(layers + 1)]
    each = "; ".join(f"{depth}: {count}" for depth, count in enumerate(counts))
    return Picture(
        columns([str(depth) for depth in range(layers + 1)], counts, "layer (0: before any)"),
        f"Users by the layer from which on the first choice is the last one's: {each}.",
        "From which layer on the first choice stays, and for how many users",
    )


def _decoded(rows: pl.DataFrame) -> Table:
    """What would have been recommended to one user after each layer."""
    told: list[dict[str, Any]] = rows.to_dicts()
    wide = max(len(each["titles"]) for each in told)
    head = ("layer", *("first", "second", "third")[:wide], "place of what is recommended")
    return Table(
        head,
        [
            (
                str(each["layer"]) if each["layer"] else "before any",
                *each["titles"],
                *[""] * (wide - len(each["titles"])),
                f"{each['rank']:,}",
            )
            for each in told
        ],
        caption=f"User {told[0]['user']}: recommended is {told[0]['title']}",
    )


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the section on layers."""
    return {"layers": Layers}
