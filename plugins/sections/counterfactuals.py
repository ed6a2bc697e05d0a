"""What would have been recommended without some past events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.removal import Removal
from xrec.report.drawing import columns
from xrec.report.section import Chapter, Picture, Table, Text
from xrec.report.without import sentence
from xrec.report.words import percent, plain
from xrec.runs import explanations
from xrec.runs.run import Run

LONGEST = 8  # sizes that have a column of their own
NOTES = (
    "Smallest for sure: of the sets found, those of which all smaller ones were tried. None for "
    "sure: the users for whom all sets were tried in vain, or who could not be shown as many other "
    "items. Sets tried: the mean over users."
)


@dataclass(frozen=True)
class Counterfactuals:
    """How often a set was found whose removal changes what comes first, and how small it is."""

    def render(self, run: Run) -> Chapter:
        """Read `explanations/` and `removals/`; no blocks where no explainer sought any."""
        title = "What would change a recommendation"
        labels = [label for label in run.explainers() if explanations.seeks(run.store, label)]
        if not labels:
            return Chapter(title)
        table, inputs = run.subject.table, run.subject.inputs
        assert inputs.rivals is not None
        told = {label: explanations.read(run.store, label, inputs).summed() for label in labels}
        most = int((inputs.rivals > 0).sum(1).max()) if inputs.rivals.shape[1] else 0
        about = Text(
            "Which of a user's past events made the difference? Sought were the fewest without "
            "which an item would no longer be among the first. Places are counted among the item "
            f"and up to {most:,} others that the user might be shown instead, best first."
        )
        pictures = [_sizes(label, _removal(each)) for label, each in told.items()]
        lines = _lines(next(iter(told.values())), table, run.recipe.report.explained)
        return Chapter(title, [about, _table(told), *pictures, *lines])


def _removal(told: Explanation) -> Removal:
    assert told.removal is not None
    return told.removal


def _lines(told: Explanation, table: pl.DataFrame, count: int) -> list[Text]:
    """What was found for a few users, in words."""
    rows = list(zip(table["user"], table["title"], strict=True))[:count]
    return [Text(sentence(told, at, f"user {user}", item)) for at, (user, item) in enumerate(rows)]


def _table(told: Mapping[str, Explanation]) -> Table:
    head = ("explainer", "a set was found", "events in it", "smallest for sure")
    return Table(
        (*head, "none for sure", "sets tried"),
        [_row(label, _removal(each)) for label, each in told.items()],
        NOTES,
        caption="How often a set of past events makes the difference, and how many are in it",
    )


def _row(label: str, removal: Removal) -> tuple[str, ...]:
    found, sure, users = removal.found, removal.proven, len(removal.found)
    count = int(found.sum())
    return (
        f"{plain(label)}, first {removal.k}",
        percent(count / users),
        f"{float(removal.size[found].float().mean()):.1f}" if count else "–",
        percent(int((found & sure).sum()) / count) if count else "–",
        percent(int((~found & sure).sum()) / users),
        f"{float(removal.evaluations.float().mean()):,.0f}",
    )


def _sizes(label: str, removal: Removal) -> Picture:
    """A column of users for each size of set, and one for those for whom none was found."""
    sizes = removal.size.tolist()
    counts = Counter(min(size, LONGEST) for size in sizes)
    top = max(1, *counts)
    last = f"{LONGEST}+" if max(sizes) > LONGEST else str(top)
    names = [*(str(size) for size in range(1, top)), last, "none"]
    heights = [counts[size] for size in (*range(1, top + 1), 0)]
    each = "; ".join(f"{name}: {count}" for name, count in zip(names, heights, strict=True))
    return Picture(
        columns(names, heights, f"events in the set, by {plain(label)}"),
        f"Users by how many past events are in the set that {plain(label)} found: {each}.",
        f"Users by how many past events make the difference ({plain(label)})",
    )


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the section on counterfactuals."""
    return {"counterfactuals": Counterfactuals}
