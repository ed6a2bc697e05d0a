"""Online Retail: what its lines become, what is complained of, and the real file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xrec.data.cleaning.steps import clean
from xrec.data.tables import Tables
from xrec.errors import DataError
from xrec.recipe import Recipe
from xrec_plugins.datasets.online_retail import OnlineRetail

HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LINES = [
    HEAD,
    "536365,85123A,WHITE  HANGING HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
    "536366,85123a,WHITE HANGING HEART ,2,2010-12-01 08:28:00,2.95,17850,United Kingdom",
    "536367,85123A,WHITE HEART,2,2010-12-02 09:00,2.95,12583.0,France",
    "536368,POST,POSTAGE,1,2010-12-02 09:01:00,18,12583.0,Norway",
    "536369,22139,amazon,56,2010-12-02 10:00:00,0,,United Kingdom",
    "536370,22139,RETRO TEA SET,1,2010-12-02 11:00:00,12.5,12583.0,France",
    "536371,84029,?,-10,2010-12-02 11:00:00,0,,United Kingdom",
    "C536379,22139,RETRO TEA SET,-1,2010-12-03 09:41:00,12.5,12583.0,France",
]


def _write(folder: Path, lines: list[str], encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "online_retail.csv").write_bytes("\n".join(lines).encode(encoding))
    return folder


def _load(folder: Path, lines: list[str] = LINES) -> Tables:
    return OnlineRetail(folder=str(_write(folder, lines))).load().check("online_retail")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XREC_DATA_DIR", raising=False)


def test_lines_become_purchases_and_cancellations(tmp_path: Path):
    rows = _load(tmp_path).interactions.rows()
    assert rows[0] == ("17850", "85123A", 1291191960, 6.0, "buy")
    assert rows[1][:2] == ("17850", "85123A")  # whatever the letters' case, and the float's point
    assert rows[4][0] is None  # no customer: left to cleaning
    assert rows[6][3:] == (-10.0, "cancel")
    assert rows[7] == ("12583", "22139", 1291369260, -1.0, "cancel")


def test_products_have_their_commonest_description_and_a_band_of_price(tmp_path: Path):
    items = {row["item"]: row for row in _load(tmp_path).items.to_dicts()}
    assert set(items) == {"85123A", "22139", "84029"}  # postage is no product
    assert items["85123A"] == {
        "item": "85123A",
        "title": "White hanging heart",
        "text": "White hanging heart",
        "price": "£2 to £5",
    }
    assert items["22139"]["title"] == "Retro tea set"  # "amazon" stood on a line without a price
    assert items["22139"]["price"] == "£10 or more"
    assert items["84029"]["title"] is None  # it was never sold; "?" is a note


def test_customers_have_their_commonest_country(tmp_path: Path):
    assert _load(tmp_path).users.rows() == [("12583", "France"), ("17850", "United Kingdom")]


def test_american_dates_and_latin_1(tmp_path: Path):
    line = "1,22139,CAFÉ,1,12/1/2010 8:26,1,1,EIRE"
    folder = _write(tmp_path, [HEAD, line], "latin-1")
    tables = OnlineRetail(folder=str(folder)).load()
    assert tables.interactions["time"].to_list() == [1291191960]
    assert tables.items["title"].to_list() == ["Café"]


WRONG = [
    ("17850.0", "Bob", "line 2, column 7 (CustomerID): 'Bob' is no customer's number"),
    (",6,", ",six,", "line 2, column 4 (Quantity): 'six' is not a number from -1000000 to 1000000"),
    (",2.55,", ",,", "line 2, column 6 (UnitPrice): '' is not a number from -1000000 to 1000000"),
    (
        "2010-12-01 08:26:00",
        "yesterday",
        "line 2, column 5 (InvoiceDate): 'yesterday' is no date such as 2024-12-31 23:59:59",
    ),
    ("536365", "", "line 2, column 1 (InvoiceNo): '' is no id: it is empty"),
    ("85123A", "", "line 2, column 2 (StockCode): '' is no id: it is empty"),
    ("StockCode", "Code", "line 1: there is no column 'StockCode' among InvoiceNo, Code,"),
    (",United Kingdom", "", "line 2, column 8 (Country): the row has 7 fields, it must have 8"),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_malformed(tmp_path: Path, old: str, new: str, said: str):
    text = "\n".join(LINES[:2])
    assert old in text
    with pytest.raises(DataError) as raised:
        _load(tmp_path, text.replace(old, new, 1).split("\n"))
    assert said in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / "online_retail.csv"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["", "online-retail"])
def test_found_under_the_environment_variable(tmp_path: Path, monkeypatch, name: str):
    _write(tmp_path / name, LINES)
    monkeypatch.setenv("XREC_DATA_DIR", str(tmp_path))
    assert OnlineRetail().sources() == [tmp_path / name / "online_retail.csv"]


def test_nowhere(tmp_path: Path, monkeypatch):
    told = (
        "get it from https://archive.ics.uci.edu/dataset/352/online+retail, save the workbook as "
        "online_retail.csv, and set data.folder, or XREC_DATA_DIR, to the folder that has it"
    )
    for folder, where in (
        ("", "is to be found nowhere"),
        (str(tmp_path), f"is not in {tmp_path}"),
    ):
        with pytest.raises(DataError) as raised:
            OnlineRetail(folder=folder).sources()
        assert str(raised.value) == f"Online Retail (online_retail.csv) {where}: {told}"
    monkeypatch.setenv("XREC_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=f"is not in {tmp_path}/online-retail or {tmp_path}: get"):
        OnlineRetail().sources()


DATA = os.environ.get("XREC_DATA_DIR", "")


@pytest.mark.skipif(not DATA, reason="XREC_DATA_DIR is not set")
def test_the_real_file(monkeypatch: pytest.MonkeyPatch):
    """Against counts that awk takes of the same lines."""
    monkeypatch.setenv("XREC_DATA_DIR", DATA)
    tables = OnlineRetail().load().check("online_retail")
    lines = OnlineRetail().sources()[0].read_text().splitlines()[1:]
    assert len(tables.interactions) == len(lines)
    told = {"name": "x", "data": {"dataset": "online_retail"}, "model": "sequential"}
    found = {each.what: each for each in clean(tables, Recipe.of(told).clean)[1]}
    nobody = [line for line in lines if line.split(",")[-2] == ""]
    assert found["events without user, item or time"].dropped == len(nobody)
    others = [line for line in lines if not line.split(",")[1][:5].isdigit() and line not in nobody]
    assert found["events whose item is not in the catalogue"].dropped == len(others)
    assert 0 < found["cancellations"].dropped <= sum(line[0] == "C" for line in lines)
    assert found["events that were cancelled, wholly or in part"].found > 0
