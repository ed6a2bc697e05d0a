"""Tables as they come, for the tests of what cleans and splits them."""

from __future__ import annotations

import polars as pl
from hypothesis import strategies as st

from xrec.data.tables import INTERACTIONS, Tables

Event = tuple[str | None, str | None, int | None, float | None, str | None]


def items(**columns: list[str | None]) -> pl.DataFrame:
    """Items a, b, c and d."""
    given = {"item": ["a", "b", "c", "d"], "title": ["A", "B", "C", "D"]}
    given["text"] = [f"about {title}" for title in given["title"]]
    return pl.DataFrame({**given, **columns})


def tables(events: list[Event], catalogue: pl.DataFrame | None = None) -> Tables:
    frame = pl.DataFrame(events, schema=dict(INTERACTIONS), orient="row")
    return Tables(frame, items() if catalogue is None else catalogue)


def rows(of: Tables) -> list[tuple]:
    return of.interactions.rows()


def event(
    user: str | None,
    item: str | None,
    time: int | None,
    action: str | None = "buy",
    value: float | None = 1.0,
) -> Event:
    return user, item, time, value, action


maybe = st.none()
#: Events with all that can be wrong: nothing, unknown items, cancellations, times of all kinds.
dirty = st.lists(
    st.tuples(
        maybe | st.sampled_from("uvw"),
        maybe | st.sampled_from("abcx"),
        maybe | st.sampled_from([-1, 0, 1, 2, 3, 2 * 10**9, 10**12, 10**18]),
        maybe | st.sampled_from([1.0, 2.0, -1.0, 0.0]),
        maybe | st.sampled_from(["buy", "play", "cancel"]),
    ),
    max_size=30,
)
