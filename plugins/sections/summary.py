"""The run in short, in plain words, from its numbers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.report import summary
from xrec.report.section import Chapter, Table, Terms
from xrec.report.standings import Standing, standings
from xrec.report.words import WAYS, listed, percent, plain, standing
from xrec.runs.run import Run

NOTES = (
    "± is half of the 95\N{NO-BREAK SPACE}% interval. Level: a paired bootstrap over users does "
    "not tell it from the best. ms: the median time of one explanation. A floor is a rule too "
    "simple to trust: an explainer worth its cost beats the floors."
)


@dataclass(frozen=True)
class Summary:
    """What was trained on what, how well it ranks, and which explainer is best at what."""

    def render(self, run: Run) -> Chapter:
        """Read `data.json`, `quality.json` and `fidelity/`."""
        labels = list(run.explainers())
        ranks = standings(run.store, labels)
        told = Terms(
            [
                ("Trained", _trained(run)),
                ("Ranking", _ranking(run)),
                ("Explanations", _explanations(run, ranks)),
            ]
        )
        return Chapter("In short", [told, *([_best(run, ranks)] if ranks else [])])


def _trained(run: Run) -> str:
    rows = run.store.json("data.json")["rows"]
    return (
        f"A {plain(run.recipe.model.name)} recommender, on {rows['interactions']:,} events of "
        f"{rows['active users']:,} users with {rows['items']:,} items "
        f"({plain(run.recipe.dataset.name)} data)."
    )


def _ranking(run: Run) -> str:
    found = run.store.json("quality.json")
    model = run.recipe.model.name
    own = found["ranking"][model]
    measure = next(iter(own))
    told = f"It ranks the whole catalogue for each of {found['users']:,} users. "
    hit = next((name for name in own if name.startswith("recall@")), None)
    if hit:
        told += (
            f"What a user chose next is among its first {hit.removeprefix('recall@')} for "
            f"{percent(own[hit]['mean'], 1)} of users. "
        )
    others = {name: each[measure] for name, each in found["ranking"].items() if name != model}
    figure = f"Its {measure} is {own[measure]['mean']:.3f}"
    return told + figure + (_compared(own[measure], others) if others else "") + "."


def _compared(own: dict[str, Any], others: dict[str, dict[str, Any]]) -> str:
    """The model's figure beside that of the best baseline."""
    name = max(others, key=lambda each: others[each]["mean"])
    best = others[name]
    other = f"the {best['mean']:.3f} of the best baseline, {plain(name)}"
    if best["mean"] <= 0:
        return f", beside {other}"
    overlap = own["low"] <= best["high"] and best["low"] <= own["high"]
    sure = "; their intervals overlap, so that the difference may be chance" if overlap else ""
    return f", {own['mean'] / best['mean']:.2f} times {other}{sure}"


def _explanations(run: Run, ranks: list[Standing]) -> str:
    labels = list(run.explainers())
    if not labels:
        return "No explainer was asked for."
    if not ranks:
        return f"{listed([plain(label) for label in labels])}; no measure was asked for."
    wins = {label: sum(label in each.best for each in ranks) for label in labels}
    most = max(wins.values())
    first = [label for label in labels if wins[label] == most]
    told = "; ".join(f"{_named(run, label)}, {_time(run, label)} ms each" for label in first)
    return (
        f"{len(labels)} explainers were put to {len(ranks)} tests. Most often best, or level with "
        f"the best ({most} of {len(ranks)}): {told}."
    )


def _best(run: Run, ranks: list[Standing]) -> Table:
    """Who is best by each measure; those level with the best are named below it."""
    rows = []
    for each in ranks:
        first, level = each.best[0], [_named(run, label) for label in each.best[1:]]
        score = run.store.json(f"fidelity/{first}.json")["measures"][each.measure]
        rows.append(
            (
                f"{plain(each.measure)}\n{WAYS[each.better]}",
                _named(run, first) + (f"\nlevel: {', '.join(level)}" if level else ""),
                summary.interval(score),
                _time(run, first),
            )
        )
    head = ("measure", "best explainer", "its score", "ms")
    return Table(head, rows, notes=NOTES, caption="The best explainer by each measure")


def _named(run: Run, label: str) -> str:
    kind = standing(run.explainers()[label][1])
    return f"{plain(label)} ({kind})" if kind else plain(label)


def _time(run: Run, label: str) -> str:
    """The median milliseconds of an explanation."""
    timed = run.store.json(f"fidelity/{label}.json")["latency"]
    return summary.milliseconds(timed["p50"])


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the summary section."""
    return {"summary": Summary}
