"""What an audit found, as the rows of two tables: for `xrec audit` and for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xrec.audit.outcome import ALARMS
from xrec.report.summary import Rows, Show
from xrec.report.words import percent

ATTACKS = {
    "threshold": "threshold",
    "lira": "LiRA",
    "lira_offline": "LiRA, offline",
    "lira_pooled": "LiRA, pooled",
}


def attacks(found: Mapping[str, Any], show: Show) -> tuple[tuple[str, ...], Rows]:
    """A row an attack; `show` is `interval` or `mean`. Attacks by events have an AUC alone."""
    alarms = [f"found at {percent(share, int(share < 0.01))}" for share in ALARMS]
    head = ("attack", "AUC", *alarms, "epsilon ≥")
    return head, [row for of in ("model", "explanations") for row in _attacks(found, of, show)]


def _attacks(found: Mapping[str, Any], of: str, show: Show) -> Iterator[tuple[str, ...]]:
    for name, each in found.get(of, {}).items():
        shares = [_share(each["tpr"][f"{share:g}"]) for share in ALARMS]
        yield f"{of}, {ATTACKS[name]}", show(each["auc"]), *shares, f"{each['epsilon']:.2f}"
    if of in found["events"]:
        auc = show({"mean": found["events"][of]})
        yield f"run's {of}, by events", auc, *["–"] * len(ALARMS), "–"


def guesses(found: Mapping[str, Any], show: Show) -> tuple[tuple[str, ...], Rows]:
    """A row a release of an explanation: how much of a history is guessed from it."""
    told = found.get("reconstruction", {})
    figures = ("precision", "recall", "named")
    rows = [(name, *(show(each[figure]) for figure in figures)) for name, each in told.items()]
    return ("what is released", *figures), rows


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value, 1)
