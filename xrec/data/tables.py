"""The four tables of a recommender's world, and the contract of what loads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import polars as pl

from xrec.errors import DataError

INTERACTIONS = {
    "user": pl.String,
    "item": pl.String,
    "time": pl.Int64,
    "value": pl.Float64,
    "action": pl.String,
}
USERS = {"user": pl.String}
ITEMS = {"item": pl.String, "title": pl.String, "text": pl.String}
RELATIONS = {"subject": pl.String, "predicate": pl.String, "object": pl.String}
SCHEMAS: Mapping[str, Mapping[str, type[pl.DataType]]] = {
    "interactions": INTERACTIONS,
    "users": USERS,
    "items": ITEMS,
    "relations": RELATIONS,
}


def _empty(schema: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(schema))


@dataclass(frozen=True)
class Tables:
    """What a dataset returns.

    interactions: user, item (ids as text), time (seconds since 1970), value (a rating or a count),
        action (what was done: "rate", "buy", "play" …). One row an event.
    users: user, and one text column a profile attribute (null where unknown).
    items: item, title (what a person is shown), text (what the encoder reads), and one column an
        item attribute: text, or list of text where an item has several (null where unknown).
    relations: subject, predicate, object: friends, or a knowledge graph.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame = field(default_factory=lambda: _empty(USERS))
    relations: pl.DataFrame = field(default_factory=lambda: _empty(RELATIONS))

    def frames(self) -> dict[str, pl.DataFrame]:
        """The tables by name, in the order of the schema."""
        return {name: getattr(self, name) for name in SCHEMAS}

    def replace(self, **frames: pl.DataFrame) -> Tables:
        """A copy with some of the tables replaced."""
        return replace(self, **frames)

    def check(self, source: str) -> Tables:
        """These tables, if they keep the contract; `source` says whose they are.

        Raises DataError that names the table and column: one is missing or of another type, an id
        is null or twice in `users` or `items`, or `interactions` is empty.
        """
        for name, frame in self.frames().items():
            _check_schema(source, name, frame)
        for name, key in (("users", "user"), ("items", "item")):
            _check_key(source, name, getattr(self, name), key)
        if self.interactions.is_empty():
            raise DataError(f"{source}: table interactions is empty")
        return self


def _check_schema(source: str, name: str, frame: pl.DataFrame) -> None:
    for column, kind in SCHEMAS[name].items():
        if column not in frame.columns:
            raise DataError(f"{source}: table {name} has no column '{column}'")
        if frame.schema[column] != kind:
            raise DataError(
                f"{source}: table {name}, column '{column}' is {frame.schema[column]}, "
                f"it must be {kind()}"
            )
    for column in set(frame.columns) - set(SCHEMAS[name]):
        if name != "interactions" and frame.schema[column] not in (pl.String, pl.List(pl.String)):
            raise DataError(
                f"{source}: table {name}, column '{column}' is {frame.schema[column]}, but an "
                "attribute must be text or a list of texts: band or name its values"
            )


def _check_key(source: str, name: str, frame: pl.DataFrame, key: str) -> None:
    if frame[key].null_count():
        raise DataError(f"{source}: table {name}, column '{key}' has empty ids")
    twice = frame.filter(pl.col(key).is_duplicated())[key]
    if len(twice):
        raise DataError(f"{source}: table {name} has '{key}' {twice[0]} more than once")


class Dataset(Protocol):
    """The contract of a dataset plugin; its fields are its options in the recipe's `data:`."""

    def sources(self) -> Sequence[Path]:
        """The files that `load` will read, there and readable (none for a generated world).

        Raises DataError when one is missing and cannot be had.
        """

    def load(self) -> Tables:
        """The tables. Raises DataError with file, line and column where a file is malformed."""
