"""Some recommendations, explained."""

from __future__ import annotations

from dataclasses import dataclass

from xrec import hookimpl
from xrec.data.features import ITEM
from xrec.report.card import card
from xrec.report.section import Card, Chapter, Text
from xrec.report.words import feature, plain
from xrec.runs import explanations
from xrec.runs.run import Run

SHARED = (
    "A bar is an equal share of what the score (a logit: the higher, the likelier) loses without "
    "all the past events that are named."
)


@dataclass(frozen=True)
class Recommendations:
    """The first recommendations of a few test users, explained by the recipe's first explainer.

    One that seeks features to take away has a section of its own, and is the last to be taken here.
    """

    def render(self, run: Run) -> Chapter:
        """Read `explanations/` and `recommendations.parquet`."""
        title = "Recommendations, explained"
        if not run.explainers():
            return Chapter(title, [Text("No explainer was asked for.")])
        label = min(run.explainers(), key=lambda each: explanations.seeks(run.store, each))
        table, inputs = run.subject.table, run.subject.inputs
        told = explanations.read(run.store, label, inputs)
        rows = list(zip(table["user"], table["title"], strict=True))[: run.recipe.report.explained]
        cards = [card(told, at, f"user {user}", item) for at, (user, item) in enumerate(rows)]
        if told.removal is not None:
            return Chapter(title, [Text(SHARED), *cards])
        about = Text(
            "A bar is what one feature adds to the score (a logit: the higher, the likelier), as "
            f"{plain(label)} says. To the right, in blue, it speaks for the item; to the left, in "
            "red, against it. All bars of a recommendation have one scale."
        )
        return Chapter(title, [about, *_identity(cards), *cards])


def _identity(cards: list[Card]) -> list[Text]:
    """A word on the one feature whose name does not speak for itself, where it occurs."""
    names = {bar.name for each in cards for bar in each.bars}
    if feature(ITEM, "identity") not in names:
        return []
    return [
        Text("An item's identity is what the model learned of it beyond its text and attributes.")
    ]


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the recommendations section."""
    return {"recommendations": Recommendations}
