"""The sanity of a benchmark: whether its measures see the faults that they claim to see.

What a measure says of a sound explainer is held against what it says of one that is broken on
purpose (`xrec.fidelity.faults`), user by user. To see a fault is to find it worse, and surely so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import polars as pl

from xrec.fidelity.statistics import PAIRED, holm, paired

ALPHA = 0.05  # of p-values, corrected
NOTABLE = 1e-4  # in a measure's units: less may be rounding, however sure it is
FINE = 100  # resamples for each pair: a corrected p-value can then be as small as 0.02

Claims = Mapping[str, Collection[str]]


def caught(
    sound: pl.DataFrame,
    faulty: Mapping[str, pl.DataFrame],
    better: Mapping[str, str],
    claims: Claims,
) -> pl.DataFrame:
    """Which measures find which faults: a row for each fault and measure.

    sound, and faulty by the fault's name: a column a measure and a row a user, the same users in
    the same order. better: which way each measure is. claims: the faults that a measure, by the
    name of its column, claims to see.

    Columns: fault, measure; sound and faulty, the means over users for whom both are known; gap, by
    how much the faulty one is worse; p; caught, whether it is worse, by more than rounding, at
    p < 0.05; claimed. Null where a measure is not known of both for any user: then it catches
    nothing. p is that of the paired bootstrap over users, corrected (Holm, 1979) among all pairs
    that are claimed, or among all that are not, which are told for information.

    Raises ValueError where frames differ in their number of users.
    """
    rows: list[dict[str, Any]] = [
        {"fault": fault, "measure": measure, "claimed": fault in claims.get(measure, ())}
        for fault in faulty
        for measure in better
    ]
    for claimed in (True, False):
        family = [row for row in rows if row["claimed"] is claimed]
        for row in family:
            pair = (sound, faulty[row["fault"]])
            row |= _held(*pair, row["measure"], better[row["measure"]], FINE * len(family))
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row |= {"p": p, "caught": bool(row["gap"] > NOTABLE and p < ALPHA)}
    columns = ("fault", "measure", "sound", "faulty", "gap", "p", "caught", "claimed")
    schema = {name: _TYPES.get(name, pl.Float64) for name in columns}
    told = [[row[name] for name in columns] for row in rows]
    return pl.DataFrame(told, schema, orient="row").fill_nan(None)


_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("fault", "measure"), pl.String),
    **dict.fromkeys(("caught", "claimed"), pl.Boolean),
}


def _held(
    sound: pl.DataFrame, faulty: pl.DataFrame, measure: str, way: str, resamples: int
) -> dict[str, float]:
    """The means of a measure, the gap, and its p-value before it is corrected; NaN if unknown."""
    well, badly = _of(sound, measure), _of(faulty, measure)
    if len(well) != len(badly):
        raise ValueError(f"there are {len(badly)} users with a fault, and {len(well)} without")
    known = ~np.isnan(well - badly)
    worse = (badly, well) if way == "lower" else (well, badly)
    found = paired(*worse, resamples=max(PAIRED, resamples))
    means = {
        name: float(values[known].mean()) if known.any() else float("nan")
        for name, values in (("sound", well), ("faulty", badly))
    }
    return {**means, "gap": found["gap"], "p": found["p"]}


def _of(frame: pl.DataFrame, measure: str) -> np.ndarray:
    """(B,) what a measure says, NaN for all where it was not taken."""
    if measure not in frame:
        return np.full(frame.height, np.nan)
    return frame[measure].cast(pl.Float64).to_numpy()


def verdicts(table: pl.DataFrame) -> dict[str, bool]:
    """Whether each fault of a table of `caught` is caught: by every measure that claims to see it.

    A fault that no measure claims to see is not.
    """
    seen = table.group_by("fault", maintain_order=True).agg(
        (pl.col("claimed").any() & (pl.col("caught") | ~pl.col("claimed")).all()).alias("caught")
    )
    return dict(seen.iter_rows())
