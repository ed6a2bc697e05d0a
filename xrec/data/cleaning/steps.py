"""The steps by name, in the order in which they are carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xrec.data.cleaning.events import (
    Bots,
    Cancelled,
    Duplicates,
    ImpossibleTimes,
    Incomplete,
    Repeats,
    UnknownItems,
)
from xrec.data.cleaning.finding import Finding, Step
from xrec.data.cleaning.histories import KCore, ShortHistories
from xrec.data.cleaning.texts import BrokenText, MissingText
from xrec.data.cleaning.twins import NearDuplicateItems
from xrec.data.tables import Tables
from xrec.errors import DataError

#: Every step, in the one order in which none undoes what an earlier one did: texts are mended
#: before titles are compared, items are merged before duplicates are counted, and histories are
#: counted when all else is gone.
STEPS: Mapping[str, type[Step]] = {
    step.name: step
    for step in (
        Incomplete,
        UnknownItems,
        ImpossibleTimes,
        BrokenText,
        MissingText,
        NearDuplicateItems,
        Duplicates,
        Cancelled,
        Bots,
        Repeats,
        ShortHistories,
        KCore,
    )
}
#: What no model can do without.
NEEDED = ("incomplete", "unknown_items", "missing_text", "short_histories")
#: What is right for any data.
DEFAULT = (*NEEDED, "impossible_times", "broken_text", "duplicates", "cancelled")


def clean(tables: Tables, steps: Iterable[Step]) -> tuple[Tables, list[Finding]]:
    """Carry out the steps, in order. Raises DataError when nothing is left to learn from."""
    findings: list[Finding] = []
    for step in steps:
        tables, found = step(tables)
        findings += found
    if tables.interactions.is_empty():
        told = ", ".join(f"{each.what}: {each.dropped}" for each in findings if each.dropped)
        raise DataError(
            f"after cleaning no interaction is left ({told}): ask less of data.clean, or lower "
            "data.min_events?"
        )
    return tables, findings


def demand(tables: Tables, steps: Iterable[Step], source: str) -> None:
    """Raise DataError for the first thing that one of the steps finds in the tables of `source`."""
    for step in steps:
        for finding in step(tables)[1]:
            if finding.found:
                raise DataError(
                    f"{source}: {finding.found:,} {finding.what}, such as {finding.examples[0]}; "
                    f"mend them, or let data.clean have the step {step.name} (it is in default)"
                )
