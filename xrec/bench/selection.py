"""Choosing each explainer's setting on the validation users, by one measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from xrec.fidelity.statistics import paired
from xrec.report.summary import SEEN


def selected(rows: pl.DataFrame, measure: str, better: str, settings: Sequence[str]) -> str:
    """The cheapest of one explainer's settings that is not worse than the best of them.

    rows: the validation users' scores by `setting`, over all models. settings: their names, the
    cheapest first. Worse is what a paired bootstrap over users tells from the best, by more than
    anyone would see. Where the measure tells nothing it is the last, the explainer's largest.
    """
    sign = 1 if better == "higher" else -1
    each = {name: _by_user(rows.filter(setting=name), measure) for name in settings}
    means = {
        name: sign * float(frame[measure].to_numpy().mean())
        for name, frame in each.items()
        if len(frame)
    }
    if not means:
        return settings[-1]
    best = max(means, key=means.__getitem__)
    return next(name for name in means if name == best or _level(each[best], each[name], measure))


def _by_user(rows: pl.DataFrame, measure: str) -> pl.DataFrame:
    """Each user's mean over models and draws, of those who could be judged."""
    return (
        rows.filter(pl.col(measure).is_not_null() & pl.col(measure).is_not_nan())
        .group_by("user")
        .agg(pl.col(measure).mean())
        .sort("user")
    )


def _level(best: pl.DataFrame, other: pl.DataFrame, measure: str) -> bool:
    both = best.join(other, on="user", suffix=" of other")
    gap = paired(both[measure].to_numpy(), both[f"{measure} of other"].to_numpy())
    return abs(gap["gap"]) < SEEN or gap["low"] <= 0 <= gap["high"]


def chosen(
    rows: pl.DataFrame, measure: str, better: str, settings: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The setting of each explainer, by label; of one that has a single one there is no choice."""
    return {
        label: names[0]
        if len(names) == 1
        else selected(rows.filter(explainer=label), measure, better, names)
        for label, names in settings.items()
    }
