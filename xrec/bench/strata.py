"""Users in thirds, by what sets them apart: whether an explainer serves some of them worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from xrec.bench.averages import Averages, averaged
from xrec.bench.files import Bench


@dataclass(frozen=True)
class Stratum:
    """The explained users whose `by`, "events" or "popularity", lies from least to most."""

    by: str
    least: int
    most: int
    users: int
    averages: Averages

    @property
    def bounds(self) -> str:
        """In words: "3–12", or "5" where all are alike."""
        return f"{self.least:,}–{self.most:,}" if self.most > self.least else f"{self.least:,}"


def strata(bench: Bench, by: str) -> list[Stratum]:
    """Test users in three parts of about the same size by "events" or "popularity", lowest first.

    What one model recommends may be more popular than what another does, so that a user may be in
    more than one. Where many are alike, the parts are fewer.
    """
    values = bench.test.select("model", "user", by).unique()[by].drop_nulls()
    found = []
    for low, high in _bounds(values):
        rows = bench.test.filter(pl.col(by).is_between(low, high))
        averages = averaged(rows, bench.judged)
        found.append(Stratum(by, low, high, len(averages.users), averages))
    return found


def _bounds(values: pl.Series) -> Sequence[tuple[int, int]]:
    """The least and the most of each third, of values that occur; those alike stay together."""
    ordered = values.sort().to_list()
    cuts = [ordered[len(ordered) * third // 3 - 1] for third in (1, 2, 3) if ordered]
    bounds, after = [], float("-inf")
    for cut in sorted(set(cuts)):
        part = [value for value in ordered if after < value <= cut]
        bounds.append((part[0], part[-1]))
        after = cut
    return bounds
