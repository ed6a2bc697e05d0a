"""Anyone's own tables, as text files or as Parquet files."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from xrec import hookimpl
from xrec.data.tables import RELATIONS, Tables
from xrec.errors import DataError
from xrec_plugins.datasets.files import Sheet, read_csv, read_parquet

LARGEST = 1e15  # a value
LONGEST = 2.0**62  # a time: which ones are possible is for cleaning to say
COLUMNS = ("user", "item", "time", "value", "action", "title", "text", *RELATIONS)


@dataclass(frozen=True)
class TableFiles:
    """Files of interactions and, if there are any, of items, users and relations.

    They are looked for in `folder` (or where XREC_DATA_DIR says, or here). A column is called as in
    xrec's tables, or as `columns` says: {user: customer_id}. Time, value, action, title and text
    need not be there. Times are in seconds since 1970 (`time: unix`) or dates (`time: iso`).
    attributes and profile: more columns of items and of users; where `parted_by` is given, a text
    that has it is several values.
    """

    interactions: str
    items: str = ""
    users: str = ""
    relations: str = ""
    folder: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    time: str = "unix"
    attributes: list[str] = field(default_factory=list)
    profile: list[str] = field(default_factory=list)
    parted_by: str = ""

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in COLUMNS:
                raise ValueError(f"columns has '{name}', which is not one of {', '.join(COLUMNS)}")
        if self.time not in ("unix", "iso"):
            raise ValueError(f"time is '{self.time}', it must be unix or iso")
        for option, file in (("attributes", "items"), ("profile", "users")):
            if getattr(self, option) and not getattr(self, file):
                raise ValueError(f"{option} are columns of a file that '{file}' must name")

    @abstractmethod
    def read(self, path: Path) -> Sheet:
        """One of the files."""

    def sources(self) -> Sequence[Path]:
        """The files named. Raises DataError where one is missing."""
        return list(self._paths().values())

    def _paths(self) -> dict[str, Path]:
        folder = Path(self.folder or os.environ.get("XREC_DATA_DIR", "")).expanduser()
        names = ("interactions", "items", "users", "relations")
        paths = {name: folder / getattr(self, name) for name in names if getattr(self, name)}
        for name, path in paths.items():
            if not path.is_file():
                raise DataError(
                    f"{path} (data.{name}) is not there: set data.folder, or XREC_DATA_DIR, to the "
                    "folder that has it"
                )
        return paths

    def load(self) -> Tables:
        """The tables. Without a file of items they are those that interactions name."""
        sheets = {name: self.read(path) for name, path in self._paths().items()}
        interactions = self._interactions(sheets["interactions"])
        if "items" in sheets:
            items = self._items(sheets["items"])
        else:
            known = interactions["item"].drop_nulls().unique(maintain_order=True)
            nothing = pl.lit(None, pl.String)
            items = pl.DataFrame({"item": known}).with_columns(title=nothing, text=nothing)
        tables = Tables(interactions, items)
        if "users" in sheets:
            tables = tables.replace(users=self._users(sheets["users"]))
        if "relations" in sheets:
            sheet = sheets["relations"]
            facts = {name: sheet.ids(self._called(name)) for name in RELATIONS}
            tables = tables.replace(relations=pl.DataFrame(facts))
        return tables

    def _called(self, name: str) -> str:
        """What one of our columns is called in the files."""
        return self.columns.get(name, name)

    def _has(self, sheet: Sheet, name: str) -> bool:
        """Whether a column that need not be there is; if a recipe names it, it must be."""
        return name in self.columns or name in sheet.rows.columns

    def _interactions(self, sheet: Sheet) -> pl.DataFrame:
        frame = pl.DataFrame(
            {each: sheet.optional(self._called(each)) for each in ("user", "item")}
        )
        known = dict.fromkeys(("time", "value", "action"), pl.Series([None] * len(frame)))
        if self._has(sheet, "time"):
            known["time"] = self._times(sheet, self._called("time"))
        if self._has(sheet, "value"):
            column = self._called("value")
            known["value"] = sheet.number(column, -LARGEST, LARGEST, optional=True)
        if self._has(sheet, "action"):
            known["action"] = sheet.optional(self._called("action"))
        return frame.with_columns(
            time=known["time"].cast(pl.Int64),
            value=known["value"].cast(pl.Float64),
            action=known["action"].cast(pl.String),
        )

    def _times(self, sheet: Sheet, column: str) -> pl.Series:
        if self.time == "iso":
            return sheet.date(column, optional=True)
        return sheet.number(column, -LONGEST, LONGEST, optional=True)

    def _items(self, sheet: Sheet) -> pl.DataFrame:
        frame = pl.DataFrame({"item": sheet.ids(self._called("item"), unique=True)})
        named = [name for name in ("title", "text") if self._has(sheet, name)]
        texts = {name: sheet.optional(self._called(name)) for name in named}
        texts.setdefault("title", pl.Series([None] * len(frame), dtype=pl.String))
        texts.setdefault("text", texts["title"])
        return frame.with_columns(**texts, **self._values(sheet, self.attributes))

    def _users(self, sheet: Sheet) -> pl.DataFrame:
        frame = pl.DataFrame({"user": sheet.ids(self._called("user"), unique=True)})
        return frame.with_columns(**self._values(sheet, self.profile))

    def _values(self, sheet: Sheet, names: Sequence[str]) -> dict[str, pl.Series]:
        """Columns of attribute values: texts, or lists of texts."""
        values = {}
        for name in names:
            column = sheet.values(name)
            if column.dtype == pl.String:
                column = column.replace("", None)
                if self.parted_by and column.str.contains(self.parted_by, literal=True).any():
                    column = column.str.split(self.parted_by)
            values[name] = column
        return values


@dataclass(frozen=True)
class Csv(TableFiles):
    """Text files with a header; quoted as RFC 4180 says."""

    separator: str = ","
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.separator) != 1:
            raise ValueError(f"separator is '{self.separator}', it must be one character")
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise ValueError(f"encoding '{self.encoding}' is not one that is known") from error

    def read(self, path: Path) -> Sheet:
        """One of the files."""
        return read_csv(path, self.separator, (self.encoding,))


@dataclass(frozen=True)
class Parquet(TableFiles):
    """Parquet files; an attribute may be a list of texts."""

    def read(self, path: Path) -> Sheet:
        """One of the files."""
        return read_parquet(path)


@hookimpl
def xrec_datasets() -> Mapping[str, type]:
    """Offer text files and Parquet files."""
    return {"csv": Csv, "parquet": Parquet}
