"""Items that are one item under several ids."""

from __future__ import annotations

import sys

import pytest
from raw import event, items, rows, tables

from xrec.data.cleaning.twins import NearDuplicateItems, spelling
from xrec.errors import DataError


def test_items_of_one_title_become_that_with_the_most_events():
    catalogue = items(title=["Red  Tent", "red tent!", "Blue tent", "RED-TENT"])
    events = [event("u", "a", 1), event("u", "b", 2), event("v", "b", 3), event("v", "c", 4)]
    cleaned, (twins, moved) = NearDuplicateItems()(tables(events, catalogue))
    assert cleaned.items["item"].to_list() == ["b", "c"]
    assert [item for _, item, *_ in rows(cleaned)] == ["b", "b", "b", "c"]
    assert (twins.dropped, moved.mended, moved.dropped) == (2, 1, 0)
    assert twins.examples == ("Red  Tent (a) is red tent! (b)", "RED-TENT (d) is red tent! (b)")


def test_of_items_without_events_the_first_is_kept():
    cleaned, _ = NearDuplicateItems()(tables([], items(title=["T", "t", "T.", "U"])))
    assert cleaned.items["item"].to_list() == ["a", "d"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Café", "Cafe\u0301", True),
        ("ＴＥＮＴ", "tent", True),
        ("!!!", "???", False),
        ("東京", "大阪", False),
        ("Rocky 2", "Rocky 3", False),
        ("C", "C++", True),
    ],
)
def test_spellings(one: str, other: str, same: bool):
    assert (spelling(one) == spelling(other)) is same


def test_near_spellings_are_merged_if_asked():
    pytest.importorskip("sklearn")
    titles = ["white hanging heart light holder", "white hanging heart light holders"]
    catalogue = items(title=[*titles, "Rocky Balboa 2", "Rocky Balboa 3"])
    assert len(NearDuplicateItems()(tables([], catalogue))[0].items) == 4
    step = NearDuplicateItems(similarity=0.85)
    cleaned, (twins, _) = step(tables([], catalogue))
    assert cleaned.items["item"].to_list() == ["a", "c", "d"]
    assert twins.examples == (f"{titles[1]} (b) is {titles[0]} (a)",)
    assert step(cleaned)[1][0].found == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn.neighbors", None)
    with pytest.raises(DataError) as raised:
        NearDuplicateItems(similarity=0.9)(tables([]))
    assert str(raised.value) == (
        "cleaning by near_duplicate_items with a similarity below 1 needs the package sklearn: "
        "pip install 'xrec[sklearn]'"
    )


def test_a_similarity_of_no_sense():
    with pytest.raises(ValueError, match=r"^similarity is 0.2, it must be from 0.5 to 1$"):
        NearDuplicateItems(similarity=0.2)
