"""Names and their indices: ids, attribute values, and the slots of a model."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.data.features import (
    BEHAVIOUR,
    FIXED,
    GROUPS,
    ITEM,
    PROFILE,
    Attributes,
    FeatureIndex,
    Vocabulary,
)
from xrec.errors import RunError


def test_a_vocabulary_counts_from_one():
    users = Vocabulary(["ann", "bob"], "user")
    assert len(users) == 3
    assert [users.index("ann"), users.index("bob")] == [1, 2]
    assert [users.ids[at] for at in range(3)] == ["", "ann", "bob"]


def test_an_unknown_id_is_told_with_the_nearest():
    users = Vocabulary(["ann", "bob"], "user")
    with pytest.raises(RunError) as raised:
        users.index("anne")
    assert str(raised.value) == "there is no user 'anne': did you mean 'ann'?"
    with pytest.raises(RunError, match="there is no user ''"):
        users.index("")  # the id of padding is nobody's


def _attributes(frame: pl.DataFrame, ids: list[str]) -> Attributes:
    return Attributes.of(frame, Vocabulary(ids, "item"), "item", ["item", "title"])


def test_attributes_of_one_and_of_several_values():
    frame = pl.DataFrame(
        {
            "item": ["b", "a", "unused"],
            "title": ["B", "A", "U"],
            "year": ["1999", None, "1900"],
            "genre": [["war"], ["love", "war"], ["never"]],
        }
    )
    told = _attributes(frame, ["a", "b", "c"])
    assert told.names == ("", "year: 1999", "genre: love", "genre: war")
    assert told.fields == ("year", "genre", "genre")
    assert told.values.tolist() == [[0, 0, 0], [0, 2, 3], [1, 3, 0], [0, 0, 0]]
    assert told.values.dtype == torch.int64


def test_no_attributes():
    told = _attributes(pl.DataFrame({"item": ["a"], "title": ["A"]}), ["a"])
    assert told.values.shape == (2, 0)
    assert (told.names, told.fields) == (("",), ())


def test_an_attribute_that_nobody_has_takes_no_slot():
    schema = {"item": pl.String, "size": pl.String, "tags": pl.List(pl.String), "hue": pl.String}
    frame = pl.DataFrame([("a", None, None, "red"), ("b", None, [], None)], schema, orient="row")
    told = _attributes(frame, ["a", "b"])
    assert told.fields == ("hue",)
    assert told.values.tolist() == [[0], [1], [0]]


words = st.sampled_from(["red", "blue", "war", "love"])
values = st.tuples(
    st.none() | words, st.none() | st.lists(st.none() | words, max_size=3, unique=True)
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), values, min_size=1), st.permutations("abcd"))
def test_values_name_what_the_table_says(rows: dict[str, tuple], ids: list[str]):
    schema = {"item": pl.String, "hue": pl.String, "tags": pl.List(pl.String)}
    frame = pl.DataFrame([(key, *row) for key, row in rows.items()], schema, orient="row")
    told = _attributes(frame, ids)
    for at, name in enumerate(["", *ids]):
        hue, tags = rows.get(name, (None, None))
        expected = [f"hue: {hue}"] if hue else []
        expected += [f"tags: {tag}" for tag in tags or () if tag]
        found = [told.names[value] for value in told.values[at].tolist() if value]
        assert Counter(found) == Counter(expected)
        for field, value in zip(told.fields, told.values[at].tolist(), strict=True):
            assert not value or told.names[value].startswith(f"{field}: ")
    assert len(set(told.names)) == len(told.names)


def _index() -> FeatureIndex:
    return FeatureIndex(
        group=torch.tensor(
            [[BEHAVIOUR, PROFILE, FIXED, ITEM], [BEHAVIOUR, BEHAVIOUR, FIXED, ITEM]]
        ),
        key=torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1]]),
        parent=torch.full((2, 4), -1),
        names={
            FIXED: ("query",),
            BEHAVIOUR: ("", "Tent"),
            PROFILE: ("", "age: old"),
            ITEM: ("text", "identity"),
        },
    )


def test_a_slot_is_called_by_its_group_and_key():
    index = _index()
    assert [index.name(0, slot) for slot in range(4)] == ["Tent", "age: old", "query", "text"]
    assert [index.name(1, slot) for slot in range(4)] == ["", "Tent", "query", "identity"]
    assert GROUPS[BEHAVIOUR] == "behaviour"
    assert GROUPS[int(index.group[0, 3])] == "item"


def test_fixed_slots():
    assert _index().fixed.tolist() == [[False, False, True, False]] * 2


def test_rows_may_repeat():
    some = _index().rows(torch.tensor([1, 1, 0]))
    assert some.name(0, 1) == some.name(1, 1) == "Tent"
    assert some.name(2, 1) == "age: old"
    assert some.parent.shape == (3, 4)


def _opened() -> FeatureIndex:
    """An event, a profile value, and another event with two words."""
    return FeatureIndex(
        group=torch.tensor([[BEHAVIOUR, PROFILE, BEHAVIOUR, BEHAVIOUR, BEHAVIOUR]]),
        key=torch.tensor([[1, 1, 2, 3, 4]]),
        parent=torch.tensor([[-1, -1, -1, 2, 2]]),
        names={BEHAVIOUR: ("", "Tent", "Red lamp", "red", "lamp"), PROFILE: ("", "age: old")},
    )


def test_the_items_of_slots_are_their_events():
    assert _opened().items.tolist() == [[1, 0, 2, 2, 2]]
    assert _index().items.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ([1, 1, 0, 1, 1], [6, 5, 0, 2, 2]),
        ([1, 0, 1, 1, 0], [6, 0, 2, 2, 0]),
        ([0, 1, 1, 0, 0], [0, 5, 4, 0, 0]),
        ([1, 1, 0, 0, 0], [6, 5, 0, 0, 0]),
    ],
)
def test_what_a_whole_has_is_split_among_what_is_present_of_it(present: list, expected: list):
    index, there = _opened(), torch.tensor([present], dtype=torch.bool)
    found = index.parted(torch.tensor([[6.0, 5, 4, 100, 100]]), there)
    assert found.tolist() == [expected]
