"""The contract of the four tables, and the sentence said where it is broken."""

from __future__ import annotations

import polars as pl
import pytest

from xrec.data.tables import ITEMS, RELATIONS, SCHEMAS, USERS, Tables
from xrec.errors import DataError


def _tables(**frames: pl.DataFrame) -> Tables:
    """Two users who bought one item each, and a friendship; some of the frames replaced."""
    given = {
        "interactions": pl.DataFrame(
            {
                "user": ["u1", "u2"],
                "item": ["tent", "lamp"],
                "time": [10, 20],
                "value": [1.0, 2.0],
                "action": ["buy", "buy"],
            }
        ),
        "items": pl.DataFrame(
            {
                "item": ["tent", "lamp"],
                "title": ["A tent", "A lamp"],
                "text": ["A tent to sleep in", "A lamp to read by"],
                "colour": ["red", None],
                "uses": [["camping", "sleep"], None],
            }
        ),
        "users": pl.DataFrame({"user": ["u1", "u2"], "town": ["Oslo", None]}),
        "relations": pl.DataFrame({"subject": ["u1"], "predicate": ["friend"], "object": ["u2"]}),
    }
    return Tables(**{**given, **frames})


def _complaint(tables: Tables) -> str:
    with pytest.raises(DataError) as raised:
        tables.check("dataset mine")
    return str(raised.value)


COLUMNS = [(name, column) for name, schema in SCHEMAS.items() for column in schema]


def test_tables_that_keep_the_contract_are_given_back():
    tables = _tables()
    assert tables.check("dataset mine") is tables


def test_users_and_relations_may_be_left_out():
    whole = _tables()
    tables = Tables(whole.interactions, whole.items).check("dataset mine")
    assert tables.users.is_empty()
    assert dict(tables.users.schema) == USERS
    assert tables.relations.is_empty()
    assert dict(tables.relations.schema) == RELATIONS


def test_frames_come_in_the_order_of_the_schema():
    tables = _tables()
    assert list(tables.frames()) == ["interactions", "users", "items", "relations"]
    assert all(tables.frames()[name] is getattr(tables, name) for name in SCHEMAS)


def test_replace_changes_one_table_of_a_copy():
    tables = _tables()
    fewer = tables.replace(items=tables.items.head(1))
    assert fewer.items.height == 1
    assert tables.items.height == 2
    assert fewer.interactions is tables.interactions


@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_a_missing_column_is_named(name: str, column: str):
    tables = _tables(**{name: getattr(_tables(), name).drop(column)})
    assert _complaint(tables) == f"dataset mine: table {name} has no column '{column}'"


@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_a_column_of_another_type_is_named(name: str, column: str):
    wanted = {"time": "Int64", "value": "Float64"}.get(column, "String")
    tables = _tables(
        **{name: getattr(_tables(), name).with_columns(pl.lit(True).alias(column))},
    )
    assert _complaint(tables) == (
        f"dataset mine: table {name}, column '{column}' is Boolean, it must be {wanted}"
    )


def test_integers_are_no_ratings():
    events = _tables().interactions.with_columns(pl.col("value").cast(pl.Int64))
    assert _complaint(_tables(interactions=events)) == (
        "dataset mine: table interactions, column 'value' is Int64, it must be Float64"
    )


@pytest.mark.parametrize("name", ["users", "items", "relations"])
def test_an_attribute_must_be_text(name: str):
    frame = getattr(_tables(), name).with_columns(pl.lit(34).alias("age"))
    assert _complaint(_tables(**{name: frame})) == (
        f"dataset mine: table {name}, column 'age' is Int32, but an attribute must be text or a "
        "list of texts: band or name its values"
    )


def test_a_list_of_numbers_is_no_attribute():
    items = _tables().items.with_columns(pl.lit([1, 2]).alias("sizes"))
    assert "table items, column 'sizes' is List(Int64)" in _complaint(_tables(items=items))


def test_interactions_may_have_columns_of_any_type():
    events = _tables().interactions.with_columns(pl.lit(3).alias("quantity"))
    _tables(interactions=events).check("dataset mine")


@pytest.mark.parametrize(("name", "key"), [("users", "user"), ("items", "item")])
def test_an_empty_id_is_named(name: str, key: str):
    frame = getattr(_tables(), name).with_columns(pl.Series(key, ["tent", None]))
    assert _complaint(_tables(**{name: frame})) == (
        f"dataset mine: table {name}, column '{key}' has empty ids"
    )


@pytest.mark.parametrize(("name", "key"), [("users", "user"), ("items", "item")])
def test_an_id_given_twice_is_named(name: str, key: str):
    frame = getattr(_tables(), name).with_columns(pl.Series(key, ["twin", "twin"]))
    assert _complaint(_tables(**{name: frame})) == (
        f"dataset mine: table {name} has '{key}' twin more than once"
    )


def test_no_interaction_at_all():
    none = _tables().interactions.clear()
    assert _complaint(_tables(interactions=none)) == "dataset mine: table interactions is empty"


def test_items_may_have_no_attribute_at_all():
    _tables(items=_tables().items.select(list(ITEMS))).check("dataset mine")
