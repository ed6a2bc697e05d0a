"""Anyone's own tables: text and Parquet files, their columns by other names, and what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from xrec.data.tables import Tables
from xrec.errors import DataError, RecipeError
from xrec.recipe import Choice
from xrec_plugins.datasets.tabular import Csv, Parquet

EVENTS = {
    "customer_id": ["7", "", "8"],
    "sku": ["a", "b", "a"],
    "at": ["10", "", "-3"],
    "stars": ["4.5", "", "1"],
    "event": ["rate", "rate", ""],
}
ITEMS = {
    "sku": ["a", "b"],
    "name": ["Tent", ""],
    "about": ["A tent, red", "?"],
    "kinds": ["camping|sport", ""],
    "brand": ["X", ""],
}
USERS = {"customer_id": ["7", "8"], "town": ["Oslo", ""]}
FRIENDS = {"from": ["7"], "what": ["friend"], "to": ["8"]}
COLUMNS = {
    "user": "customer_id",
    "item": "sku",
    "time": "at",
    "value": "stars",
    "action": "event",
    "title": "name",
    "text": "about",
    "subject": "from",
    "predicate": "what",
    "object": "to",
}
FRAMES = {"events": EVENTS, "items": ITEMS, "users": USERS, "friends": FRIENDS}


def _write(folder: Path, kind: str, **changes: dict[str, list]) -> Path:
    for name, columns in {**FRAMES, **changes}.items():
        frame = pl.DataFrame(columns)
        if kind == "csv":
            frame.write_csv(folder / f"{name}.csv")
        else:
            frame.write_parquet(folder / f"{name}.parquet")
    return folder


def _dataset(folder: Path, kind: str, **options: Any) -> Any:
    given = {
        "interactions": f"events.{kind}",
        "items": f"items.{kind}",
        "users": f"users.{kind}",
        "relations": f"friends.{kind}",
        "folder": str(folder),
        "columns": COLUMNS,
        "attributes": ["kinds", "brand"],
        "profile": ["town"],
        "parted_by": "|",
        **options,
    }
    return Choice("dataset", kind, given, "data").make()


def _load(folder: Path, kind: str, **options: Any) -> Tables:
    return _dataset(folder, kind, **options).load().check(kind)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_by_other_names(tmp_path: Path, kind: str):
    tables = _load(_write(tmp_path, kind), kind)
    assert tables.interactions.rows() == [
        ("7", "a", 10, 4.5, "rate"),
        (None, "b", None, None, "rate"),
        ("8", "a", -3, 1.0, None),
    ]
    assert tables.items.rows() == [
        ("a", "Tent", "A tent, red", ["camping", "sport"], "X"),
        ("b", None, "?", None, None),
    ]
    assert tables.users.rows() == [("7", "Oslo"), ("8", None)]
    assert tables.relations.rows() == [("7", "friend", "8")]
    sources = _dataset(tmp_path, kind).sources()
    assert [path.stem for path in sources] == ["events", "items", "users", "friends"]


def test_interactions_alone_of_user_and_item_are_enough(tmp_path: Path):
    (tmp_path / "e.csv").write_text("user;item\n1;x\n1;é\n", encoding="latin-1")
    tables = Csv("e.csv", folder=str(tmp_path), separator=";", encoding="latin-1").load()
    tables.check("csv")
    assert tables.interactions.rows() == [
        ("1", "x", None, None, None),
        ("1", "é", None, None, None),
    ]
    assert tables.items.rows() == [("x", None, None), ("é", None, None)]


def test_an_item_without_text_of_its_own_is_read_by_its_title(tmp_path: Path):
    items = {"item": ["a"], "title": ["Tent"]}
    events = {"user": ["1"], "item": ["a"]}
    _write(tmp_path, "csv", items=items, events=events)
    tables = Csv("events.csv", "items.csv", folder=str(tmp_path)).load()
    assert tables.items.rows() == [("a", "Tent", "Tent")]


def test_parquet_keeps_types(tmp_path: Path):
    pl.DataFrame(
        {
            "user": [1, 2],
            "item": [10, 11],
            "time": pl.Series(["2024-01-01 00:00:01", None]).str.to_datetime(time_unit="ms"),
        }
    ).write_parquet(tmp_path / "e.parquet")
    pl.DataFrame(
        {"item": [10, 11], "kinds": [["x", "y"], None], "year": [1999, None]}
    ).write_parquet(tmp_path / "i.parquet")
    tables = Parquet(
        "e.parquet", "i.parquet", folder=str(tmp_path), time="iso", attributes=["kinds", "year"]
    ).load()
    tables.check("parquet")
    assert tables.interactions["time"].to_list() == [1704067201, None]
    assert tables.items.rows() == [
        ("10", None, None, ["x", "y"], "1999"),
        ("11", None, None, None, None),
    ]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-02 00:01", 86_460),
        ("1970-01-02T00:00:01", 86_401),
        ("1970-01-02 00:00:01.75", 86_401),
        ("1970-01-02T00:00:01Z", 86_401),
        ("1970-01-02 01:00:01+01:00", 86_401),
        ("1969-12-31 23:59:59", -1),
    ],
)
def test_dates(tmp_path: Path, written: str, seconds: int):
    (tmp_path / "e.csv").write_text(f"user,item,time\n1,x,{written}\n1,x,\n")
    tables = Csv("e.csv", folder=str(tmp_path), time="iso").load()
    assert tables.interactions["time"].to_list() == [seconds, None]


WRONG = [
    ("events", "at", "noon", "is not a number from -4.611686018e+18 to 4.611686018e+18"),
    ("events", "stars", "good", "is not a number from -1e+15 to 1e+15"),
    ("items", "sku", "b", "is the id of an earlier line too"),
    ("users", "customer_id", "", "is no id: it is empty"),
]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(("name", "column", "bad", "said"), WRONG)
def test_malformed(tmp_path: Path, kind: str, name: str, column: str, bad: str, said: str):
    values = list(FRAMES[name][column])
    values[0] = bad
    _write(tmp_path, kind, **{name: {**FRAMES[name], column: values}})
    with pytest.raises(DataError) as raised:
        _load(tmp_path, kind)
    place = list(FRAMES[name]).index(column) + 1
    row = 1 if bad != "b" else 2
    unit = f"line {row + 1}" if kind == "csv" else f"row {row}"
    assert str(raised.value) == (
        f"{tmp_path / name}.{kind}, {unit}, column {place} ({column}): '{bad}' {said}"
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_is_not_there(tmp_path: Path, kind: str):
    head = ", line 1" if kind == "csv" else ""
    with pytest.raises(DataError) as raised:
        _load(_write(tmp_path, kind), kind, columns={**COLUMNS, "value": "score"})
    assert str(raised.value) == (
        f"{tmp_path}/events.{kind}{head}: there is no column 'score' among customer_id, sku, at, "
        "stars, event"
    )


def test_a_date_that_is_none(tmp_path: Path):
    with pytest.raises(DataError) as raised:
        _load(_write(tmp_path, "csv"), "csv", time="iso")
    assert str(raised.value) == (
        f"{tmp_path}/events.csv, line 2, column 3 (at): '10' is no date such as 2024-12-31 23:59:59"
    )


def test_files_that_are_not_there_or_are_no_parquet(tmp_path: Path):
    dataset = Parquet("e.parquet", folder=str(tmp_path))
    with pytest.raises(DataError) as raised:
        dataset.sources()
    assert str(raised.value) == (
        f"{tmp_path}/e.parquet (data.interactions) is not there: set data.folder, or "
        "XREC_DATA_DIR, to the folder that has it"
    )
    (tmp_path / "e.parquet").write_text("user,item\n")
    with pytest.raises(DataError, match=r"e.parquet is no Parquet file that can be read: [^\n]*$"):
        dataset.load()
    pl.DataFrame({"user": [], "item": []}).write_parquet(tmp_path / "e.parquet")
    with pytest.raises(DataError, match=r"e.parquet has a header and no rows"):
        dataset.load()
    pl.DataFrame({"user": [["u"]], "item": ["a"]}).write_parquet(tmp_path / "e.parquet")
    with pytest.raises(DataError, match=r"the column 'user' holds lists, it must hold texts"):
        dataset.load()


OPTIONS = [
    ({"columns": {"users": "x"}}, "columns has 'users', which is not one of user, item, time"),
    ({"time": "noon"}, "time is 'noon', it must be unix or iso"),
    ({"items": ""}, "attributes are columns of a file that 'items' must name"),
    ({"users": ""}, "profile are columns of a file that 'users' must name"),
    ({"separator": "::"}, "separator is '::', it must be one character"),
    ({"encoding": "morse"}, "encoding 'morse' is not one that is known"),
]


@pytest.mark.parametrize(("options", "said"), OPTIONS)
def test_options_of_no_sense(tmp_path: Path, options: dict[str, Any], said: str):
    with pytest.raises(RecipeError) as raised:
        _dataset(tmp_path, "csv", **options)
    assert str(raised.value).startswith(f"data: {said}")


def test_interactions_must_be_named():
    with pytest.raises(RecipeError) as raised:
        Choice("dataset", "csv", {}, "data").make()
    assert str(raised.value) == "data.interactions: this option must be given"
