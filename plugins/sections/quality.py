"""How well the model recommends, beside what learns nothing but counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.report import summary
from xrec.report.section import Block, Chapter, Table, Terms, Text
from xrec.report.words import plain
from xrec.runs.run import Run

NOTES = "Higher is better. ± is half of the 95\N{NO-BREAK SPACE}% bootstrap interval over users."
#: What a measure says, by the part of its name before the cut-off.
MEANINGS = {
    "ndcg": "1 if the held-out item is ranked first, less the lower it stands, 0 after the "
    "first {k}; the mean over users.",
    "recall": "The share of users whose held-out item is among the first {k}.",
    "mrr": "The mean of 1 / rank of the held-out item.",
    "coverage": "The share of the catalogue that is among anyone's first {k}.",
}


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
            "event held out is looked for. The settings of item knn and ease are those best on "
            "validation."
        )
        table = Table(
            head,
            [(plain(model), *cells) for model, *cells in rows],
            NOTES,
            strong=(plain(run.recipe.model.name),),
            caption="Ranking of the held-out items",
        )
        terms = Terms([(name, _meaning(name)) for name in head[1:] if _meaning(name)])
        tasks = [block for each in found["tasks"].items() for block in _task(*each)]
        return Chapter(
            "How well it recommends",
            [told, table, terms, *_classes(found["classification"]), *tasks],
        )


def _meaning(measure: str) -> str:
    name, _, cutoff = measure.partition("@")
    return MEANINGS.get(name, "").format(k=cutoff)


def _task(name: str, report: dict[str, Any]) -> list[Block]:
    """What is told of a task that does not rank."""
    if not report["events"]:
        return [Text(f"Of the task {plain(name)} no held-out event tells the truth.")]
    events = f"{report['events']:,} held-out events"
    if "auc" in report:
        told = (
            f"The task {plain(name)}, on {events}: AUC {report['auc']:.3f} (0.5 is chance, 1 "
            f"perfect); at probability 0.5 the accuracy is {report['accuracy']:.3f}."
        )
        return [Text(told), _class_table(report, plain(name), "events")]
    rows = [
        ("the model", f"{report['rmse']:.3f}", f"{report['mae']:.3f}"),
        ("always the mean", f"{report['rmse_of_mean']:.3f}", f"{report['mae_of_mean']:.3f}"),
    ]
    head = ("who says it", "root mean squared error", "mean absolute error")
    return [Table(head, rows, f"On {events}; lower is better.", caption=f"Task: {plain(name)}")]


def _classes(report: dict[str, Any]) -> list[Block]:
    told = Text(
        "Told apart from one item each that the user never had, the held-out items are found with "
        f"AUC {report['auc']:.3f} (0.5 is chance, 1 perfect); at probability 0.5 the accuracy is "
        f"{report['accuracy']:.3f}."
    )
    return [told, _class_table(report, "Held-out items against others", "items")]


def _class_table(report: dict[str, Any], caption: str, counted: str) -> Table:
    columns = ("precision", "recall", "f1")
    rows = [
        (name, *(f"{report[name][c]:.3f}" for c in columns), f"{report[name]['support']:,}")
        for name in ("positive", "negative")
    ]
    return Table(("class", *columns, counted), rows, caption=caption)


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the quality section."""
    return {"quality": Quality}
