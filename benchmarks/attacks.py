"""What attacks find of a run's users, as raw rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from budgets import ATTACKED, told
from worth import interval

from xrec.audit.audit import Asked, audit
from xrec.audit.telling import ATTACKS
from xrec.runs.run import Run

POOLED = "lira_pooled"  # the attack whose figures are quoted, chosen before any was seen
SOURCES = ("model", "explanations")


def attacked(run: Run, shadows: int, users: int) -> list[dict[str, Any]]:
    """A row for each attack on a finished run; shadows that were trained before are kept."""
    run.tell = told
    found = audit(run, Asked(shadows, users, ATTACKED))
    return list(_rows(found))


def _rows(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    claimed = found["epsilon"]["claimed"]
    asked = {"shadows": found["asked"]["shadows"], "users": found["asked"]["users"]}
    for of in SOURCES:
        for attack in ATTACKS:
            each = found[of][attack]
            yield {
                "of": of,
                "attack": attack,
                **interval("auc", each["auc"]),
                "found at 1 %": each["tpr"]["0.01"],
                "epsilon at least": each["epsilon"],
                "claimed": claimed and claimed["epsilon"],
                **asked,
            }
        yield {"of": of, "attack": "events", "auc": found["events"][of], **asked}


def auc(rows: list[dict[str, Any]], model: str, of: str, attack: str = POOLED) -> float:
    """The AUC of an attack."""
    (row,) = (
        row for row in rows if (row["model"], row["of"], row["attack"]) == (model, of, attack)
    )
    return float(row["auc"])
