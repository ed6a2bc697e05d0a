"""The step that finds items which are one item under several ids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from xrec.data.cleaning.finding import SHOWN, Finding, told
from xrec.data.tables import Tables
from xrec.errors import DataError


@dataclass(frozen=True)
class NearDuplicateItems:
    """Items whose titles are the same but for case, Unicode form, spaces and punctuation.

    With a `similarity` below 1, also those whose titles have that cosine of their counts of
    character trigrams, and the same numbers in them: "Rocky 2" is not "Rocky 3". Short names may
    pass for each other then ("Bow Wow" and "Bow Wow Wow"): look at the examples in the report.
    """

    name: ClassVar[str] = "near_duplicate_items"
    similarity: float = 1.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.similarity <= 1:
            raise ValueError(f"similarity is {self.similarity}, it must be from 0.5 to 1")

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Keep of each group the item with the most events, and give it those of the others."""
        first = self._first(tables)
        names = dict(tables.items.select("item", "title").iter_rows())
        told_of = [f"{names[a]} ({a}) is {names[b]} ({b})" for a, b in first.items()]
        moved = tables.interactions.filter(pl.col("item").is_in([*first]))
        what = "items that are another under a second id"
        return tables.replace(
            items=tables.items.filter(~pl.col("item").is_in([*first])),
            interactions=tables.interactions.with_columns(pl.col("item").replace(first)),
        ), [
            Finding(self.name, what, dropped=len(first), examples=tuple(told_of[:SHOWN])),
            Finding(self.name, f"events of {what}", mended=len(moved), examples=told(moved)),
        ]

    def _first(self, tables: Tables) -> dict[str, str]:
        """For each item that is another under a second id, that which has most events."""
        names = tables.items.select("item", "title").iter_rows()
        titles = [spelling(title or item) for item, title in names]
        place = {title: at for at, title in enumerate(dict.fromkeys(titles))}
        group = self._groups([*place])[[place[title] for title in titles]]
        counts = tables.interactions.group_by("item").len("events")
        items = tables.items.select("item", group=pl.Series(group))
        items = items.join(counts, "item", "left", maintain_order="left")
        often = pl.col("events").fill_null(0)
        first = pl.col("item").sort_by(often, descending=True, maintain_order=True).first()
        pairs = items.select("item", first.over("group").alias("first"))
        return dict(pairs.filter(pl.col("item") != pl.col("first")).iter_rows())

    def _groups(self, titles: Sequence[str]) -> np.ndarray:
        """(titles,) int: the group of each of several different titles."""
        if self.similarity == 1 or len(titles) < 2:
            return np.arange(len(titles))
        alike = _alike(titles, 1 - self.similarity).tocoo()
        numbers = np.array([" ".join(re.findall(r"\d+", title)) for title in titles])
        same = numbers[alike.row] == numbers[alike.col]
        pairs = alike.row[same], alike.col[same]
        graph = sparse.coo_matrix((np.ones(same.sum()), pairs), shape=alike.shape)
        return connected_components(graph, directed=False)[1]


def spelling(title: str) -> str:
    """What two spellings of one title have in common: its words in small letters."""
    plain = unicodedata.normalize("NFKC", title).casefold()
    return " ".join(re.findall(r"\w+", plain)) or plain  # there is a band that is called !!!


def _alike(titles: Sequence[str], radius: float) -> sparse.csr_matrix:
    """(titles, titles), not zero where the cosine distance of trigrams is at most `radius`."""
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.neighbors import NearestNeighbors
    except ModuleNotFoundError as error:
        raise DataError(
            f"cleaning by {NearDuplicateItems.name} with a similarity below 1 needs the package "
            "sklearn: pip install 'xrec[sklearn]'"
        ) from error
    # Hashed counts, not tf-idf: whether two titles are alike must not depend on the others.
    counts = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 3), alternate_sign=False)
    vectors = counts.transform(titles)
    near = NearestNeighbors(radius=radius, metric="cosine").fit(vectors)
    return near.radius_neighbors_graph(vectors, mode="connectivity")
