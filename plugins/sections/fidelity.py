"""Which explainer is faithful, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.report import summary
from xrec.report.drawing import drawn, figure
from xrec.report.section import Chapter, Picture, Table, Text
from xrec.runs.run import Run

FLOORS = ("random", "recency", "leave_one_out")
NOTES = (
    "↑ higher is better, ↓ lower is better. p50 and p95: milliseconds for one recommendation, "
    "warm-up excluded. rows/s: at batch {batch}. forward, backward: evaluations for one "
    "recommendation. {threads} threads. attention_rollout is a heuristic; random, recency and "
    "leave_one_out are floors."
)


@dataclass(frozen=True)
class Fidelity:
    """A table of every explainer's scores and costs, and a chart of the two."""

    def render(self, run: Run) -> Chapter:
        """Read `fidelity/`."""
        names = list(run.explainers())
        found = {name: run.store.json(f"fidelity/{name}.json") for name in names}
        if not found:
            return Chapter("How far to believe the explanations", [Text("None was asked for.")])
        head, rows = summary.fidelity(run.store, run.recipe, summary.interval)
        timed = next(iter(found.values()))["latency"]
        table = Table(head, rows, NOTES.format(**timed))
        return Chapter(
            "How far to believe the explanations", [_told(run, found), *_charts(found), table]
        )


def _told(run: Run, found: Mapping[str, Any]) -> Text:
    told = (
        f"The first recommendation of {run.recipe.protocol.users} test users was explained by each "
        "explainer, and each explanation was put to the test. "
    )
    used = next(iter(found.values()))["plant_taken_up"]
    if used is None:
        return Text(told + "The data are real, so that nobody knows the true causes.")
    return Text(
        told + f"The data have planted causes, which the model uses in {used:.0%} of the cases: "
        "taking them away moves its score more than taking away as many other features."
    )


def _charts(found: Mapping[str, Any]) -> list[Picture]:
    """One chart a measure, at most two: planted precision, or else deletion, and insertion."""
    measures = {name for each in found.values() for name in each["measures"]}
    wanted = [m for m in ("planted_precision", "deletion", "insertion") if m in measures][:2]
    if not wanted:
        return []
    with figure(7.6, 3.4, columns=len(wanted)) as axes:
        for axis, measure in zip(axes, wanted, strict=True):
            _scatter(axis, measure, found)
        svg = drawn()
    words = f"{' and '.join(wanted)} of each explainer against its latency."
    return [Picture(svg, words)]


def _scatter(axis: Any, measure: str, found: Mapping[str, Any]) -> None:
    better = ""
    for name, each in found.items():
        score = each["measures"].get(measure)
        if score is None or score["mean"] is None:
            continue
        better = each["better"][measure]
        at, colour = 1000 * each["latency"]["p50"], "#5b6775" if name in FLOORS else "#2a78b8"
        gap = [[score["mean"] - score["low"]], [score["high"] - score["mean"]]]
        axis.errorbar(at, score["mean"], yerr=gap, fmt="o", color=colour, capsize=2, lw=1)
        axis.annotate(
            name, (at, score["mean"]), (5, 4), textcoords="offset points", fontsize=8, color=colour
        )
    axis.set(xscale="log", xlabel="ms for one recommendation (p50)")
    axis.set_title(f"{measure.replace('_', ' ')} ({better} is better)")
    axis.margins(x=0.28, y=0.12)


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the fidelity section."""
    return {"fidelity": Fidelity}
