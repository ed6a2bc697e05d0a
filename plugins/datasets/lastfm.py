"""Last.fm: which artists people listen to, and who their friends are.

I. Cantador, P. Brusilovsky and T. Kuflik, "2nd Workshop on Information Heterogeneity and Fusion in
Recommender Systems (HetRec 2011)", RecSys 2011, https://grouplens.org/datasets/hetrec-2011/. For
use that is not commercial.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from xrec import hookimpl
from xrec.data.tables import Tables
from xrec_plugins.datasets.files import Sheet, read_lines
from xrec_plugins.datasets.places import find

LISTENS, ARTISTS, FRIENDS = "user_artists.dat", "artists.dat", "user_friends.dat"
TAGGED, TAGS = "user_taggedartists.dat", "tags.dat"
SHOWN = 3  # tags of an artist that are read, those given most often
MOST = 1e9  # plays


@dataclass(frozen=True)
class LastFM:
    """HetRec 2011's Last.fm 2K.

    It tells how often people played an artist (the value of an event), but not when: split it at
    random. It is looked for in `folder` if that is given, else in the folder that XREC_DATA_DIR
    names, or lastfm-2k or hetrec2011-lastfm-2k in it.
    """

    folder: str = ""

    def sources(self) -> Sequence[Path]:
        """The files; those of tags need not be there. Raises DataError: where to get them."""
        advice = "get hetrec2011-lastfm-2k.zip from https://grouplens.org/datasets/hetrec-2011/"
        needed, optional = (LISTENS, ARTISTS, FRIENDS), (TAGGED, TAGS)
        return find("Last.fm 2K", self.folder, "lastfm-2k", needed, optional, advice)

    def load(self) -> Tables:
        """Listens, artists with their tags if those are there, and friends."""
        sheets = {path.name: _read(path) for path in self.sources()}
        listens = sheets[LISTENS]
        interactions = pl.DataFrame(
            {
                "user": listens.ids("userID"),
                "item": listens.ids("artistID"),
                "time": pl.repeat(None, len(listens.rows), dtype=pl.Int64, eager=True),
                "value": listens.number("weight", 0, MOST),
                "action": pl.repeat("listen", len(listens.rows), eager=True),
            }
        )
        users = interactions.select(pl.col("user").unique(maintain_order=True))
        items = _artists(sheets[ARTISTS])
        if TAGGED in sheets and TAGS in sheets:
            items = _tagged(items, sheets[TAGGED], sheets[TAGS])
        return Tables(interactions, items, users, _friends(sheets[FRIENDS], users["user"]))


@hookimpl
def xrec_datasets() -> Mapping[str, Callable[..., LastFM]]:
    """Offer Last.fm."""
    return {"lastfm": LastFM}


def _read(path: Path) -> Sheet:
    # The tags are in Latin-1, the other files in UTF-8.
    return read_lines(path, "\t", encodings=("utf-8", "latin-1"))


def _artists(sheet: Sheet) -> pl.DataFrame:
    name = sheet.optional("name").str.strip_chars()
    return pl.DataFrame({"item": sheet.ids("id", unique=True), "title": name, "text": name})


def _tagged(items: pl.DataFrame, given: Sheet, tags: Sheet) -> pl.DataFrame:
    """Artists with the tags that most people gave them, as an attribute and in what is read."""
    names = dict(zip(tags.ids("tagID", unique=True), tags.text("tagValue"), strict=True))
    tag = given.ids("tagID")
    given.demand("tagID", tag.is_in([*names]), f"is no tag of {tags.path.name}")
    pairs = pl.DataFrame({"item": given.ids("artistID"), "tag": tag.replace(names)})
    counts = pairs.group_by("item", "tag").len()
    counts = counts.sort("item", -pl.col("len").cast(pl.Int64), "tag")
    most = counts.group_by("item").agg(tags=pl.col("tag").head(SHOWN))
    told = pl.concat_str("title", pl.col("tags").list.join(", "), separator=". ", ignore_nulls=True)
    return items.join(most, "item", "left", maintain_order="left").with_columns(text=told)


def _friends(sheet: Sheet, users: pl.Series) -> pl.DataFrame:
    """Friends, both ways, each pair once; those who listen to nothing are left out."""
    one, other = sheet.ids("userID"), sheet.ids("friendID")
    pairs = pl.DataFrame({"subject": pl.concat([one, other]), "object": pl.concat([other, one])})
    known = pl.all_horizontal(pl.all().is_in(users.implode()))
    pairs = pairs.filter(known).unique(maintain_order=True)
    return pairs.select("subject", pl.lit("friend").alias("predicate"), "object")
