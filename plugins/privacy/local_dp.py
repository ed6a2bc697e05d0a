"""Local differential privacy: what people did is randomised before anything is stored.

Each event's item is reported by randomised response over the catalogue (Warner, 1965; Kairouz et
al., 2016, "k-RR"), and its value, a rating or a count, with Laplace noise. What is stored is all
that anybody ever sees: cleaning, training, measuring and explaining work on that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from xrec import hookimpl
from xrec.data.tables import Tables
from xrec.errors import DataError
from xrec.recipe import Recipe
from xrec.runs.run import Run
from xrec_plugins.privacy.chance import laplace, uniform

TOLD, ESTIMATES = "privacy/local_dp.json", "privacy/local_dp.parquet"
Terms = list[tuple[str, str]]  # each a term, and what it means
OPEN = (
    ("that a user is there", "and how many events they have, up to the bound"),
    ("times", "when events were, and in which order"),
    ("actions", "what was done in an event"),
    ("profiles and relations", "they are stored as they are"),
)


@dataclass(frozen=True)
class Response:
    """Randomised response over a catalogue of `items` that keeps `epsilon` for one report."""

    items: int
    epsilon: float

    @property
    def kept(self) -> float:
        """The probability that what is reported is the truth."""
        return 1 / (1 + (self.items - 1) * math.exp(-self.epsilon))

    @property
    def other(self) -> float:
        """The probability of each other item."""
        return (1 - self.kept) / max(1, self.items - 1)

    def reported(self, truth: np.ndarray, seed: int | None = None) -> np.ndarray:
        """(E,) reports of truths (E,) int from 0."""
        draws = uniform(2 * len(truth), seed)
        step = 1 + (draws[len(truth) :] * (self.items - 1)).astype(np.int64)
        lied = draws[: len(truth)] >= self.kept
        return np.where(lied, (truth + step) % self.items, truth)

    def counted(self, reports: np.ndarray) -> np.ndarray:
        """(items,) unbiased estimates of how often each item is the truth, from reports (E,)."""
        found = np.bincount(reports, minlength=self.items)
        return (found - len(reports) * self.other) / (self.kept - self.other)


@dataclass(frozen=True)
class LocalDP:
    """Options.

    epsilon: for a user, all that they report together.
    events: the latest of a user's that are reported, each with an equal part of epsilon; the others
        are not stored.
    values: the lowest and highest value, such as [1, 5], if values are reported: they are cut off
        there, and get noise. Without, no value is stored.
    share: of an event's part of epsilon, what is for its value.
    spared: the latest events of each user that are stored as they are, to measure by: two, in a
        study on data that are no secret, and none on people's.
    seed: for tests alone. It voids the guarantee.
    """

    epsilon: float = 8.0
    events: int = 20
    values: list[float] = field(default_factory=list)
    share: float = 0.25
    spared: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < float("inf"):
            raise ValueError(f"epsilon is {self.epsilon}, it must be above 0 and finite")
        if self.events < 1 or self.spared < 0:
            raise ValueError("events must be at least 1, and spared at least 0")
        if self.values and (len(self.values) != 2 or not self.values[0] < self.values[1]):
            raise ValueError(f"values is {self.values}, it must be a lowest and a highest value")
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}, it must be between 0 and 1")

    @property
    def for_item(self) -> float:
        """The part of epsilon that is for an event's item."""
        return self.epsilon / self.events * (1 - self.share if self.values else 1)

    @property
    def for_value(self) -> float:
        """The part of epsilon that is for an event's value, if these are reported."""
        return self.epsilon / self.events * self.share

    @hookimpl
    def xrec_tables(self, tables: Tables, recipe: Recipe) -> Tables:
        """Randomise the interactions; what is not reported is not there any more.

        Raises DataError: an event is of an item that the catalogue does not have.
        """
        events = tables.interactions.sort("user", "time", maintain_order=True)
        behind = pl.int_range(pl.len(), 0, -1).over("user") - 1  # how many a user has after it
        reported = events.filter(behind.is_between(self.spared, self.spared + self.events - 1))
        spared = events.filter(behind < self.spared)
        both = pl.concat([self._randomised(reported, tables.items["item"]), spared])
        return tables.replace(interactions=both.sort("user", "time", maintain_order=True))

    def _randomised(self, events: pl.DataFrame, catalogue: pl.Series) -> pl.DataFrame:
        places = pl.DataFrame({"item": catalogue, "place": np.arange(len(catalogue))})
        truth = events.join(places, on="item", how="left", maintain_order="left")["place"]
        if truth.null_count():
            raise DataError(
                "privacy: local_dp: there are events of items that the catalogue does not have, "
                "and no report could stand for them: remove them first"
            )
        response = Response(len(catalogue), self.for_item)
        reports = response.reported(truth.to_numpy(), self.seed)
        return events.with_columns(item=catalogue[reports], value=self._noised(events["value"]))

    def _noised(self, values: pl.Series) -> pl.Series:
        if not self.values:
            return pl.Series("value", [None] * len(values), dtype=pl.Float64)
        low, high = self.values
        noise = laplace(len(values), (high - low) / self.for_value, self.seed)
        return values.clip(low, high) + pl.Series(noise)

    @hookimpl
    def xrec_explained(self, run: Run) -> None:
        """Tell the accounting, and unbiased estimates of how often items were had."""
        items = run.data.items
        response = Response(len(items) - 1, self.for_item)
        reports = np.concatenate(
            [self._reports(run, user) for user in range(1, len(run.data.users))]
        )
        run.store.write_json(TOLD, self._told(response, len(reports)))
        table = pl.DataFrame({"item": items.ids[1:], "estimate": response.counted(reports - 1)})
        run.store.write_table(ESTIMATES, table)

    def _reports(self, run: Run, user: int) -> np.ndarray:
        """The items that a user reported."""
        begin, end = run.data.events.span(user)
        return run.data.events.item[begin : end - self.spared].numpy()

    def _told(self, response: Response, reports: int) -> dict[str, Any]:
        value = (self.values[1] - self.values[0]) / self.for_value if self.values else None
        return {
            "mechanism": "local_dp",
            "level": "user",
            "epsilon": self.epsilon,
            "delta": 0.0,
            "events": self.events,
            "epsilon_item": response.epsilon,
            "kept": response.kept,
            "value_scale": value,
            "reports": reports,
            "repeatable": self.seed is not None,
            "covered": self._covered(),
            "not_covered": [*self._spared(), *OPEN],
        }

    def _covered(self) -> Terms:
        items = ("items", "which ones a user had")
        return [items, ("values", "of their events")] if self.values else [items]

    def _spared(self) -> Terms:
        if not self.spared:
            return []
        return [(f"the latest {self.spared} events of each user", "they are stored as they are")]


@hookimpl
def xrec_mechanisms() -> dict[str, type]:
    """Offer local differential privacy."""
    return {"local_dp": LocalDP}
