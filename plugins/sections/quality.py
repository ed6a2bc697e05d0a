"""How well the model recommends, beside what learns nothing but counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.report import summary
from xrec.report.section import Chapter, Table, Text
from xrec.runs.run import Run


@dataclass(frozen=True)
class Quality:
    """Ranking over the full catalogue, and a classification report."""

    def render(self, run: Run) -> Chapter:
        """Read `quality.json`."""
        found = run.store.json("quality.json")
        head, rows = summary.quality(run.store, summary.interval)
        seen = (
            "items they have had left out" if run.recipe.data.exclude_seen else "items all ranked"
        )
        told = Text(
            f"For each of {found['users']:,} users the whole catalogue is ranked, {seen}, and the "
            "event held out is looked for. ± is half of the 95 % bootstrap interval over users; the "
            "settings of item_knn and ease are those best on validation."
        )
        table = Table(head, rows, strong=(run.recipe.model.name,))
        return Chapter("How well it recommends", [told, table, *_classes(found["classification"])])


def _classes(report: dict[str, Any]) -> list[Text | Table]:
    told = Text(
        "Told apart from one item each that the user never had, the held-out items are found with "
        f"AUC {report['auc']:.3f}; at probability 0.5 the accuracy is {report['accuracy']:.3f}."
    )
    columns = ("precision", "recall", "f1")
    rows = [
        (name, *(f"{report[name][c]:.3f}" for c in columns), f"{report[name]['support']:,}")
        for name in ("positive", "negative")
    ]
    return [told, Table(("class", *columns, "support"), rows)]


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the quality section."""
    return {"quality": Quality}
