"""Which training interactions made the model say this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from xrec import hookimpl
from xrec.report.section import Block, Chapter, Table, Text
from xrec.report.words import listed, percent, plain
from xrec.runs.run import Run

ABOUT = (
    "An explanation by features says what of a user the model looked at. This says what it had "
    "learned from: the interactions of the training data, of this user and of others, that raised "
    "or lowered the score of what was recommended. The strength of each is in percent of the "
    "strongest for its recommendation. What an interaction did as a part of later histories is not "
    "counted. These are estimates from gradients: in small worlds they ranked interactions much as "
    "training again without each did where training was short and plain, less so with Adam, and "
    "hardly at all with dropout or after long training."
)
TITLE = "The training interactions behind it"


@dataclass(frozen=True)
class Influence:
    """The training interactions that spoke most for and against a few recommendations."""

    def render(self, run: Run) -> Chapter:
        """Read `influence/`; a chapter without blocks if the recipe lists no method."""
        if not run.influences():
            return Chapter(TITLE)
        blocks: list[Block] = [Text(ABOUT)]
        for label in run.influences():
            told = run.store.json(f"influence/{label}.json")
            blocks.append(Text(" ".join([_looked(label, told), *told["notes"]])))
            rows = run.store.table(f"influence/{label}.parquet")
            blocks += [_table(label, rows.filter(row=at)) for at in rows["row"].unique().sort()]
        return Chapter(TITLE, blocks)


def _looked(label: str, told: Mapping[str, Any]) -> str:
    """What a method looked at, and what it took."""
    at, cost = told["looked_at"], told["cost"]
    own = at["interactions"] - at["drawn"]
    among = (
        f"all {at['of']:,} training interactions"
        if at["interactions"] == at["of"]
        else f"{at['interactions']:,} of {at['of']:,} training interactions ({at['drawn']:,} drawn "
        f"at random, and {own:,} more of the users' own)"
    )
    weights = ""
    if at["checkpoints"]:
        epochs = listed([str(epoch) for epoch in at["checkpoints"]])
        weights = f" Weights were kept after epoch {epochs}."
    return (
        f"By {plain(label)}: {among} were looked at, through {at['parameters']:,} parameters, in "
        f"{cost['seconds']:.1f} seconds and {cost['forward'] + cost['backward']:,} evaluations."
        f"{weights}"
    )


def _table(label: str, rows: pl.DataFrame) -> Table:
    """One recommendation's interactions, those for it first."""
    user, title = rows["user"][0], rows["title"][0]
    strongest = float(rows["value"].abs().max())  # type: ignore[arg-type]
    lines = [
        (each["speaks"], _interaction(each, user), _day(each["time"]), _share(each, strongest))
        for each in rows.iter_rows(named=True)
    ]
    return Table(
        ("speaks", "training interaction", "when", "strength"),
        lines,
        caption=f"“{title}”, recommended to user {user}, says {plain(label)}",
    )


def _interaction(row: Mapping[str, Any], user: str) -> str:
    if row["by_user"] == user:
        return f"their own “{row['by_title']}”"
    return f"“{row['by_title']}” of user {row['by_user']}"


def _day(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).date().isoformat() if time else "–"


def _share(row: Mapping[str, Any], strongest: float) -> str:
    return percent(row["value"] / strongest).replace("-", "−")


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the section on the training interactions behind recommendations."""
    return {"influence": Influence}
