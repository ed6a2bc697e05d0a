"""RecBole's atomic files, in which many public datasets are passed round.

https://recbole.io/docs/user_guide/data/atomic_files.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from xrec import hookimpl
from xrec.data.tables import Tables
from xrec.errors import DataError
from xrec_plugins.datasets.files import Sheet, read_atomic
from xrec_plugins.datasets.places import find

LARGEST, LONGEST = 1e15, 2.0**62  # a value, a time
PARTS = 5  # bands of a number, each of as many items or users
SOURCE, TARGET = "source_id", "target_id"  # of a social network


@dataclass(frozen=True)
class RecBole:
    """The files `prefix`.inter and .item, and .user, .net, .kg and .link if they are there.

    They are looked for in `folder` if that is given, else in the folder that XREC_DATA_DIR names,
    or `prefix` in it. user, item, time, value and action are the names of columns; a time, value or
    action that is not there is unknown. title: the column that items are called by (else one whose
    name ends in "title" or "name"); text: the columns that are read with it. What else the files
    tell is an attribute: a number (float) as one of five bands; lists of numbers are left out.
    """

    prefix: str
    folder: str = ""
    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    value: str = "rating"
    action: str = "action"
    title: str = ""
    text: list[str] = field(default_factory=list)

    def sources(self) -> Sequence[Path]:
        """The files that are there. Raises DataError where one that must be is not."""
        needed = (f"{self.prefix}.inter",)
        optional = [f"{self.prefix}.{kind}" for kind in ("item", "user", "net", "kg", "link")]
        return find("RecBole's data", self.folder, self.prefix, needed, optional)

    def load(self) -> Tables:
        """The tables. Without a file of items they are those that interactions name."""
        sheets = {path.suffix: read_atomic(path) for path in self.sources()}
        interactions = self._interactions(sheets[".inter"])
        tables = Tables(interactions, self._items(sheets.get(".item"), interactions["item"]))
        if ".user" in sheets:
            tables = tables.replace(users=self._users(sheets[".user"]))
        facts = []
        if ".net" in sheets:
            facts.append(friends(sheets[".net"]))
        if ".kg" in sheets and ".link" in sheets:
            facts.append(graph(sheets[".kg"], sheets[".link"], self.item))
        return tables.replace(relations=pl.concat(facts)) if facts else tables

    def _interactions(self, sheet: Sheet) -> pl.DataFrame:
        columns = {"user": sheet.optional(self.user), "item": sheet.optional(self.item)}
        known = sheet.rows.columns
        if self.time in known:
            columns["time"] = sheet.number(self.time, -LONGEST, LONGEST, optional=True)
        if self.value in known:
            columns["value"] = sheet.number(self.value, -LARGEST, LARGEST, optional=True)
        if self.action in known:
            columns["action"] = sheet.optional(self.action)
        types = {"time": pl.Int64, "value": pl.Float64, "action": pl.String}
        missing = [
            pl.lit(None, kind).alias(name) for name, kind in types.items() if name not in columns
        ]
        frame = pl.DataFrame(columns).with_columns(missing).cast(types)  # type: ignore[arg-type]
        return frame.select("user", "item", *types)

    def _items(self, sheet: Sheet | None, ids: pl.Series) -> pl.DataFrame:
        if sheet is None:
            nothing = pl.lit(None, pl.String)
            return pl.DataFrame({"item": ids.unique(maintain_order=True)}).with_columns(
                title=nothing, text=nothing
            )
        column = self._title(sheet)
        frame = pl.DataFrame({"item": sheet.ids(self.item, unique=True)})
        title = (
            sheet.optional(column) if column else pl.Series([None] * len(frame), dtype=pl.String)
        )
        told = pl.DataFrame([title.alias("title"), *(sheet.optional(name) for name in self.text)])
        text = told.select(pl.concat_str(pl.all(), separator=". ", ignore_nulls=True)).to_series()
        return frame.with_columns(
            title=title, text=text, **attributes(sheet, (self.item, column, "title", "text"))
        )

    def _title(self, sheet: Sheet) -> str:
        if self.title:
            return sheet.text(self.title).name
        return next((name for name in sheet.types if name.endswith(("title", "name"))), "")

    def _users(self, sheet: Sheet) -> pl.DataFrame:
        ids = pl.DataFrame({"user": sheet.ids(self.user, unique=True)})
        return ids.with_columns(**attributes(sheet, (self.user, "user")))


@hookimpl
def xrec_datasets() -> Mapping[str, type]:
    """Offer RecBole's files."""
    return {"recbole": RecBole}


def attributes(sheet: Sheet, leave: Sequence[str]) -> dict[str, pl.Series]:
    """Columns but those of `leave` as attributes, by the type that the header gives them."""
    values = {}
    for name, kind in sheet.types.items():
        if name in leave:
            continue
        if kind == "token":
            values[name] = sheet.optional(name)
        elif kind == "token_seq":
            values[name] = sheet.text(name).str.split(" ").list.filter(pl.element() != "")
        elif kind == "float":
            values[name] = banded(sheet.number(name, -LARGEST, LARGEST, optional=True))
        elif kind != "float_seq":
            raise DataError(
                f"{sheet.path}, line 1, column {sheet.rows.columns.index(name) + 1}: the type of "
                f"'{name}', '{kind}', is not one of token, token_seq, float, float_seq"
            )
    return values


def banded(numbers: pl.Series) -> pl.Series:
    """Numbers as texts: from where to where the fifth goes that each is in."""
    known = numbers.drop_nulls().sort()
    starts = [known[len(known) * part // PARTS] for part in range(PARTS)] if len(known) else []
    edges = sorted(set(starts))
    ends = [*edges[1:], known[-1]] if edges else []
    names = [f"{low:g} to {high:g}" for low, high in zip(edges, ends, strict=True)]
    places = pl.Series(edges, dtype=pl.Float64).search_sorted(numbers, side="right") - 1
    told = [
        None if number is None else names[place]
        for number, place in zip(numbers, places, strict=True)
    ]
    return pl.Series(numbers.name, told, dtype=pl.String)


def friends(sheet: Sheet) -> pl.DataFrame:
    """A social network as relations."""
    pairs = pl.DataFrame({"subject": sheet.ids(SOURCE), "object": sheet.ids(TARGET)})
    return pairs.select("subject", pl.lit("friend").alias("predicate"), "object")


def graph(facts: Sheet, links: Sheet, item: str = "item_id") -> pl.DataFrame:
    """What a graph says of items; what it says of others is nearly all the inverse of that."""
    items = dict(zip(links.ids("entity_id"), links.ids(item), strict=True))
    frame = pl.DataFrame(
        {
            "subject": facts.ids("head_id"),
            "predicate": facts.ids("relation_id"),
            "object": facts.ids("tail_id"),
        }
    )
    frame = frame.filter(pl.col("subject").is_in([*items]))
    return frame.with_columns(pl.col("subject", "object").replace(items))
