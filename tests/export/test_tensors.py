"""A run without its people has the same vocabularies, and nobody in it."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.data.module import Data
from xrec.data.tables import Tables
from xrec.export.tensors import unpeopled
from xrec.options import DataOptions, TrainOptions
from xrec.testing.world import small_data

word = st.text("abcdefgh", min_size=1, max_size=2)


@st.composite
def worlds(draw: st.DrawFn) -> Tables:
    """The small world with other profiles, one of them a list, and other actions."""
    tables = small_data(users=6).tables
    count = len(tables.users)
    action = draw(st.lists(st.none() | word, min_size=1, max_size=9))
    return tables.replace(
        users=tables.users.select("user").with_columns(
            pl.Series("town", draw(st.lists(st.none() | word, min_size=count, max_size=count))),
            pl.Series(
                "likes",
                draw(
                    st.lists(
                        st.none() | st.lists(st.none() | word, max_size=4),
                        min_size=count,
                        max_size=count,
                    )
                ),
                dtype=pl.List(pl.String),
            ),
        ).cast({"town": pl.String}),
        interactions=tables.interactions.with_columns(
            pl.Series("action", (action * len(tables.interactions))[: len(tables.interactions)])
            .cast(pl.String)
        ),
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_vocabularies_stay_and_people_go(tables: Tables) -> None:
    bare = unpeopled(tables).check("the world without people")
    real, made = (Data(t, DataOptions(history=6), TrainOptions()) for t in (tables, bare))
    assert made.profile.names == real.profile.names
    assert made.profile.fields == real.profile.fields
    assert made.actions.ids == real.actions.ids
    assert made.items.ids == real.items.ids
    assert made.attributes.values.equal(real.attributes.values)
    assert not set(made.users.ids[1:]) & set(real.users.ids)
    assert bare.relations.is_empty()
