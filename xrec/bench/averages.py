"""One figure for each explained user, which everything that is found stands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from xrec.bench.files import Unit

UNIT = ("explainer", "setting")


@dataclass(frozen=True)
class Averages:
    """values (units, measures, users): NaN where nothing of a user could be judged.

    Users are what a benchmark draws by chance; their draws and models are averaged first, so that
    many of these do not pass for many users.
    """

    units: Mapping[Unit, int]
    measures: Mapping[str, int]
    users: Sequence[str]
    values: np.ndarray

    def of(self, unit: Unit, measure: str) -> np.ndarray:
        """(users,) of a unit, in the same order for all; NaN throughout if it was not measured."""
        if unit not in self.units or measure not in self.measures:
            return np.full(len(self.users), np.nan)
        found: np.ndarray = self.values[self.units[unit], self.measures[measure]]
        return found

    def mean(self, unit: Unit, measure: str) -> float:
        """The mean over users; NaN where there is none."""
        return mean(self.of(unit, measure))


def averaged(rows: pl.DataFrame, measures: Sequence[str]) -> Averages:
    """Average `measures` of `Bench.test`, or of some of its rows, over draws and models."""
    means = rows.group_by(*UNIT, "user", maintain_order=True).agg(pl.col(measures).mean())
    pairs = means.select(UNIT).unique(maintain_order=True).rows()
    units: dict[Unit, int] = {(label, setting): at for at, (label, setting) in enumerate(pairs)}
    users = means["user"].unique(maintain_order=True).to_list()
    place = {user: at for at, user in enumerate(users)}
    values = np.full((len(units), len(measures), len(users)), np.nan)
    for label, setting, user, *figures in means.iter_rows():
        values[units[label, setting], :, place[user]] = [
            np.nan if figure is None else figure for figure in figures
        ]
    return Averages(units, {name: at for at, name in enumerate(measures)}, users, values)


def mean(values: np.ndarray) -> float:
    """The mean of what is known; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
