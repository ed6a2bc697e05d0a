"""Which explainer is faithful, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.explain.explainer import Choosing
from xrec.fidelity.truth import Planted
from xrec.report import summary
from xrec.report.drawing import Dot, scatter
from xrec.report.section import Chapter, Picture, Table, Terms, Text
from xrec.report.standings import standings
from xrec.report.words import WAYS, meaning, percent, plain, standing
from xrec.runs.run import Run

TITLE = "How far to believe the explanations"
#: The kinds of explainer in the order in which the table has them.
ORDER = ("", "ceiling", "heuristic", "floor")
#: The measures that are drawn, if the recipe has them, most telling first; two at most.
DRAWN = ("planted_precision", "deletion", "insertion")
NOTES = (
    "↑ higher is better, ↓ lower is better; ± is half of the 95\N{NO-BREAK SPACE}% bootstrap "
    "interval over users. Bold: the best, and those that a paired bootstrap does not tell from it. "
    "Costs are of one explanation: p50 and p95 are the median and the 95th percentile of {repeats} "
    "calls after {warm_ups} to warm up, first the call before those; rows/s is the rate at batch "
    "{batch}; forward and backward count the model's evaluations. {threads} threads."
)
KEY = (
    "● explainer, ◇ heuristic, △ ceiling: as exact as can be, at whatever cost, □ floor: a rule "
    "too simple to trust, which an explainer worth its cost must beat. Upright bars are "
    "95\N{NO-BREAK SPACE}% intervals."
)


@dataclass(frozen=True)
class Fidelity:
    """A chart and a table of every explainer's scores and costs, and what each measure means."""

    def render(self, run: Run) -> Chapter:
        """Read `fidelity/`."""
        kinds = {label: standing(made) for label, (_, made) in run.explainers().items()}
        found = {label: run.store.json(f"fidelity/{label}.json") for label in kinds}
        if not found:
            return Chapter(TITLE, [Text("No explainer was asked for.")])
        charts = _charts(found, kinds)
        return Chapter(
            TITLE,
            [
                Text(_told(run, found)),
                *charts,
                *([Text(KEY)] if charts else []),
                _table(run, found, kinds),
                Terms(_measures(run, found), "What the measures mean"),
                Terms(_explainers(run), "What the explainers are"),
            ],
        )


def _told(run: Run, found: Mapping[str, Any]) -> str:
    users = run.store.table("recommendations.parquet")["user"].n_unique()
    told = f"The first recommendation of {users} test users was explained by each explainer. "
    if not any(each["measures"] for each in found.values()):
        return told + "No measure was asked for, so that only the costs are known."
    told += "Each explanation was put to the test. "
    if not isinstance(run.made["dataset"][0], Planted):
        return told + "The true causes are not known."
    used = next(iter(found.values()))["plant_taken_up"]
    if used is None:
        return told + "The data have planted causes, but these recommendations have none of them."
    return told + (
        f"The data have planted causes, which the model uses in {percent(used)} of the cases: "
        "taking one of them away moves its score more, on average, than another feature does."
    )


def _charts(found: Mapping[str, Any], kinds: Mapping[str, str]) -> list[Picture]:
    measures = {name: way for each in found.values() for name, way in each["better"].items()}
    wanted = [name for name in DRAWN if name in measures][:2] or list(measures)[:2]
    return [
        _chart(measure, measures[measure], dots)
        for measure in wanted
        if (dots := _dots(measure, found, kinds))
    ]


def _dots(measure: str, found: Mapping[str, Any], kinds: Mapping[str, str]) -> list[Dot]:
    return [
        Dot(
            plain(label),
            1000 * each["latency"]["p50"],
            score["mean"],
            score["low"],
            score["high"],
            kinds[label],
        )
        for label, each in found.items()
        if (score := each["measures"].get(measure)) and score["mean"] is not None
    ]


def _chart(measure: str, way: str, dots: list[Dot]) -> Picture:
    each = "; ".join(f"{d.name} {d.y:.3f} at {d.x:.1f} ms" for d in dots)
    words = f"{plain(measure)} of each explainer against its time, {WAYS[way]}: {each}."
    return Picture(scatter(dots, way), words, f"{plain(measure).capitalize()}: {WAYS[way]}")


def _table(run: Run, found: Mapping[str, Any], kinds: Mapping[str, str]) -> Table:
    head, rows = summary.fidelity(run.store, run.recipe, summary.interval)
    rows = sorted(rows, key=lambda row: ORDER.index(kinds[row[0]]))
    measures = len(head) - 1 - len(summary.COSTS)
    names = [name.split()[0] for name in head[1 : 1 + measures]]
    best = {each.measure: each.best for each in standings(run.store, list(found))}
    bold = {
        (row, 1 + column)
        for row, cells in enumerate(rows)
        for column, name in enumerate(names)
        if cells[0] in best.get(name, ())
    }
    return Table(
        ["\N{NO-BREAK SPACE}".join(plain(name).rsplit(" ", 1)) for name in head],
        [(plain(label), *cells) for label, *cells in rows],
        NOTES.format(**next(iter(found.values()))["latency"]),
        caption="Every explainer's scores and costs",
        spans=[
            ("", 1),
            *([("How faithful it is", measures)] if measures else []),
            ("What it costs", len(summary.COSTS)),
        ],
        best=bold,
        marks={plain(label): kind for label, kind in kinds.items() if kind},
    )


def _measures(run: Run, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What each measure that was taken means, as its metric says."""
    given = {name for each in found.values() for name in each["measures"]}
    return [
        (plain(name), meaning(metric, name))
        for metric in run.made["fidelity"]
        for name in metric.measures
        if name in given
    ]


def _explainers(run: Run) -> list[tuple[str, str]]:
    """What each explainer says of itself, and why it chose as it did, if it chose."""
    told = []
    for label, (_, made) in run.explainers().items():
        said = meaning(made)
        if isinstance(made, Choosing):
            said += " " + run.store.json(f"explainers/{label}.json")["said"]
        told.append((plain(label), said))
    return told


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the fidelity section."""
    return {"fidelity": Fidelity}
