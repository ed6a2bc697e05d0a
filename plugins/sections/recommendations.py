"""Some recommendations, explained."""

from __future__ import annotations

from dataclasses import dataclass

from xrec import hookimpl
from xrec.report.card import card
from xrec.report.section import Chapter, Text
from xrec.runs import explanations
from xrec.runs.run import Run


@dataclass(frozen=True)
class Recommendations:
    """The first recommendations of a few test users, explained by the recipe's first explainer."""

    def render(self, run: Run) -> Chapter:
        """Read `explanations/` and `recommendations.parquet`."""
        title = "Recommendations, explained"
        if not run.explainers():
            return Chapter(title, [Text("No explainer was asked for.")])
        label = next(iter(run.explainers()))
        table, _, inputs = run.explained()
        told = explanations.read(run.store, label, inputs)
        rows = list(zip(table["user"], table["title"], strict=True))[: run.recipe.report.explained]
        cards = [card(told, at, f"user {user}", item) for at, (user, item) in enumerate(rows)]
        about = Text(
            f"A bar is what one feature adds to the logit, as {label} says: blue speaks for the "
            "item, red against it. Below the dashed line are the sums of each group."
        )
        return Chapter(title, [about, *cards])


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the recommendations section."""
    return {"recommendations": Recommendations}
