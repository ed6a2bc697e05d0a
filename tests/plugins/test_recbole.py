"""RecBole's atomic files: columns by the types of their header."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from xrec.data.tables import Tables
from xrec.errors import DataError
from xrec_plugins.datasets.movielens import MovieLens
from xrec_plugins.datasets.recbole import RecBole, banded

FILES = {
    "shop.inter": "user_id:token\titem_id:token\ttimestamp:float\n1\ta\t10\n\tb\t\n",
    "shop.item": "item_id:token\titem_name:token_seq\tkinds:token_seq\tprice:float\tv:float_seq\n"
    "a\tRed tent\tcamping sport\t2\t0.1 0.2\nb\t\t\t\t\n",
    "shop.user": "user_id:token\tage:token\n1\t24\n",
    "shop.net": "source_id:token\ttarget_id:token\n1\t2\n",
    "shop.kg": "head_id:token\trelation_id:token\ttail_id:token\nm1\tmade_by\tm9\n",
    "shop.link": "item_id:token\tentity_id:token\na\tm1\n",
}


def _load(folder: Path, files: dict[str, str], **options: Any) -> Tables:
    for name, text in files.items():
        (folder / name).write_text(text)
    return RecBole("shop", folder=str(folder), **options).load().check("recbole")


def test_every_file(tmp_path: Path):
    tables = _load(tmp_path, FILES, text=["kinds"])
    assert tables.interactions.rows() == [("1", "a", 10, None, None), (None, "b", None, None, None)]
    assert tables.items.columns == ["item", "title", "text", "kinds", "price"]
    assert tables.items.rows() == [
        ("a", "Red tent", "Red tent. camping sport", ["camping", "sport"], "2 to 2"),
        ("b", None, "", [], None),
    ]
    assert tables.users.rows() == [("1", "24")]
    assert tables.relations.rows() == [("1", "friend", "2"), ("a", "made_by", "m9")]


def test_interactions_are_enough(tmp_path: Path):
    inter = "u:token\ti:token\tstars:float\tdid:token\n1\ta\t5\tbuy\n"
    tables = _load(tmp_path, {"shop.inter": inter}, user="u", item="i", value="stars", action="did")
    assert tables.interactions.rows() == [("1", "a", None, 5.0, "buy")]
    assert tables.items.rows() == [("a", None, None)]
    assert tables.users.is_empty()
    assert tables.relations.is_empty()


def test_a_title_of_another_name(tmp_path: Path):
    assert _load(tmp_path, FILES, title="kinds").items["title"].to_list() == ["camping sport", None]
    with pytest.raises(DataError, match=r"shop.item, line 1: there is no column 'label' among"):
        _load(tmp_path, FILES, title="label")


WRONG = [
    ("shop.inter", "\t10", "\tnoon", "line 2, column 3 (timestamp): 'noon' is not a number from"),
    ("shop.item", "\t2\t", "\tdear\t", "line 2, column 4 (price): 'dear' is not a number from"),
    (
        "shop.item",
        "kinds:token_seq",
        "kinds:words",
        "line 1, column 3: the type of 'kinds', 'words', is not one of token, token_seq, float,",
    ),
    ("shop.user", "1\t24", "1\t24\t9", "line 2, column 3: the row has 3 fields, it must have 2"),
    ("shop.net", "\n1\t2", "\n1\t", "line 2, column 2 (target_id): '' is no id: it is empty"),
]


@pytest.mark.parametrize(("name", "old", "new", "said"), WRONG)
def test_malformed(tmp_path: Path, name: str, old: str, new: str, said: str):
    assert old in FILES[name]
    with pytest.raises(DataError) as raised:
        _load(tmp_path, FILES | {name: FILES[name].replace(old, new, 1)})
    assert str(raised.value).startswith(f"{tmp_path / name}, {said}")


def test_nowhere(tmp_path: Path):
    with pytest.raises(DataError) as raised:
        RecBole("shop", folder=str(tmp_path)).sources()
    assert str(raised.value) == (
        f"RecBole's data (shop.inter) is not in {tmp_path}: set data.folder, or XREC_DATA_DIR, to "
        "the folder that has it"
    )


def test_numbers_are_told_by_the_fifth_they_are_in():
    told = banded(pl.Series("price", [*map(float, range(10)), None]))
    assert told.to_list() == [
        *(name for name in ("0 to 2", "2 to 4", "4 to 6", "6 to 8", "8 to 9") for _ in range(2)),
        None,
    ]
    assert banded(pl.Series("x", [1.0, 1.0, 1.0])).to_list() == ["1 to 1"] * 3
    assert banded(pl.Series("x", [None], dtype=pl.Float64)).to_list() == [None]


@pytest.mark.skipif("XREC_DATA_DIR" not in os.environ, reason="XREC_DATA_DIR is not set")
def test_the_same_files_as_movielens():
    mine, theirs = RecBole("ml-100k").load().check("recbole"), MovieLens().load()
    columns = ["user", "item", "time", "value"]
    assert mine.interactions.select(columns).equals(theirs.interactions.select(columns))
    assert mine.relations.equals(theirs.relations)
    assert mine.items["item"].equals(theirs.items["item"])
