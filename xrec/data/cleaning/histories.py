"""Steps that look at users and items as a whole: who has too few events to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from xrec.data.cleaning.finding import SHOWN, Finding, told
from xrec.data.cleaning.finding import drop as drop_events
from xrec.data.tables import Tables


@dataclass(frozen=True)
class ShortHistories:
    """Events of users who have fewer than `events`."""

    name: ClassVar[str] = "short_histories"
    events: int = 3

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Drop them."""
        bad = pl.len().over("user") < self.events
        what = f"events of users with fewer than {self.events}"
        return drop_events(tables, bad, self.name, what)


@dataclass(frozen=True)
class KCore:
    """What is outside the k-core, in which each user has `users` events and each item `items`.

    To drop one user may leave an item with too few events, and so on: it is done until all that are
    left have enough. Seidman, "Network structure and minimum degree", 1983.
    """

    name: ClassVar[str] = "k_core"
    users: int = 5
    items: int = 5

    def __post_init__(self) -> None:
        if self.users < 1 or self.items < 1:
            raise ValueError(f"users {self.users} and items {self.items} must be at least 1")

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Drop events, and items of the catalogue, that are outside the core."""
        events = tables.interactions.with_row_index("_row")
        core, size = events, -1
        while len(core) != size:
            size = len(core)
            core = core.filter(pl.len().over("user") >= self.users)
            core = core.filter(pl.len().over("item") >= self.items)
        outside = events.join(core, "_row", "anti")
        inside = pl.col("item").is_in(core["item"].unique().implode())
        rare = tables.items.filter(~inside)
        where = f"outside the core where users have {self.users} events and items {self.items}"
        return tables.replace(interactions=core.drop("_row"), items=tables.items.filter(inside)), [
            Finding(self.name, f"events {where}", dropped=len(outside), examples=told(outside)),
            Finding(
                self.name,
                f"items {where}",
                dropped=len(rare),
                examples=tuple(
                    title or item
                    for item, title in rare.select("item", "title").head(SHOWN).iter_rows()
                ),
            ),
        ]
