"""The tables of a benchmark's report: who stands where, every score, and what sets users apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from typing import Any

from xrec.bench.costs import Cost
from xrec.bench.files import Entrant
from xrec.bench.findings import Findings
from xrec.bench.scores import Score
from xrec.bench.wording import (
    NONE,
    OPERATORS,
    SPACE,
    begun,
    called,
    links,
    marks,
    megabytes,
    milliseconds,
    operator_of,
    ordered,
)
from xrec.fidelity.statistics import bootstrap
from xrec.report.section import Table
from xrec.report.summary import ARROWS, interval
from xrec.report.words import WAYS, minus, plain

ACROSS = 8  # measures that fit beside each other
Group = tuple[str, Sequence[str]]  # a title, and the measures below it
STANDINGS = (
    "level with the best: by how many measures a paired bootstrap over users does not tell it from "
    "the best, ceilings and who fails a gate apart; beats floors: by how many it is better than "
    "every floor. Both are of the measures that could judge it, and corrected for the number of "
    "explainers (Holm, 5\N{NO-BREAK SPACE}%)."
)
SCORES = (
    "↑ higher is better, ↓ lower is better; ± is half of the 95\N{NO-BREAK SPACE}% bootstrap "
    "interval over users. Bold: the best, and those level with it; ceilings, and who fails a gate, "
    "do not compete. chosen by: the measure by which settings were chosen, on other users, which "
    "counts nowhere."
)


def overview(findings: Findings) -> Table:
    """Every explainer in a row, by standing: how often it is best, its leading scores, its cost."""
    leading = findings.telling[:2]
    fitted = any("fit_seconds" in each for each in findings.costs.values())
    head = ["explainer", "set to", "level with the best", "beats floors"]
    head += [
        f"{called(measure)}{SPACE}{ARROWS[findings.bench.better[measure]]}" for measure in leading
    ]
    head += ["p50 ms", "peak MB", *(["fitting s"] if fitted else [])]
    rows = [_standing(findings, each, leading, fitted) for each in ordered(findings)]
    caption = "Where each explainer stands"
    return _of_explainers(findings, head, rows, STANDINGS, caption, _bold(findings, leading, 4))


def _standing(
    findings: Findings, entrant: Entrant, leading: Sequence[str], fitted: bool
) -> list[str]:
    label, cost = entrant.label, findings.costs.get(entrant.unit, {})
    judging = len(findings.judging(label))
    level = NONE if not entrant.competes else f"{len(findings.level(label))} of {judging}"
    beats = f"{len(findings.beaten(label))} of {judging}"
    return [
        plain(label),
        entrant.chosen or NONE,
        level,
        NONE if entrant.standing == "floor" else beats,
        *(told(findings.scores[label].get(measure)) for measure in leading),
        milliseconds(cost.get("p50")),
        megabytes(cost.get("peak_bytes")),
        *([f"{cost['fit_seconds']:,.0f}" if "fit_seconds" in cost else NONE] if fitted else []),
    ]


def every_score(findings: Findings) -> list[Table]:
    """Every measure of every explainer, in tables that are narrow enough to be read.

    Measures under one removal operator stand together, and last, apart from all, the one by which
    settings were chosen.
    """
    tables: list[list[Group]] = [[]]
    for title, names in _groups(findings):
        if sum(len(each) for _, each in tables[-1]) + len(names) > ACROSS:
            tables.append([])
        tables[-1].append((title, names))
    found = [_scores(findings, groups) for groups in tables if groups]
    return [*found[:-1], *(replace(last, notes=SCORES) for last in found[-1:])]


def _groups(findings: Findings) -> list[Group]:
    """Measures by what sets them apart, no more at once than fit beside each other."""
    bench, found = findings.bench, list[Group]()
    for operator in ("", *OPERATORS):
        title = f"features taken away: {operator}" if operator else ""
        names = [name for name in bench.reported if operator_of(name) == operator]
        found += [(title, names[at : at + ACROSS]) for at in range(0, len(names), ACROSS)]
    chosen = [name for name in bench.judged if name == bench.select]
    return [*found, *([("chosen by", chosen)] if chosen else [])]


def _scores(findings: Findings, groups: Sequence[Group]) -> Table:
    names = [name for _, each in groups for name in each]
    ways = findings.bench.better
    head = ["explainer", *(f"{_bare(findings, name)}{SPACE}{ARROWS[ways[name]]}" for name in names)]
    rows = [
        [plain(e.label), *(told(findings.scores[e.label].get(name)) for name in names)]
        for e in ordered(findings)
    ]
    table = _of_explainers(findings, head, rows, "", "Every score", _bold(findings, names, 1))
    spans = [("", 1), *((title, len(each)) for title, each in groups)]
    return replace(table, spans=spans if any(title for title, _ in groups) else ())


def _bare(findings: Findings, name: str) -> str:
    """A measure's name, without the operator that stands above it."""
    if name == findings.bench.select:
        return called(name)
    return plain(name.removesuffix(f"@{operator_of(name)}"))


def _bold(findings: Findings, names: Sequence[str], first: int) -> set[tuple[int, int]]:
    """The cells of those level with the best; `first`: the column of the first of `names`."""
    return {
        (row, first + column)
        for row, entrant in enumerate(ordered(findings))
        for column, name in enumerate(names)
        if name in findings.level(entrant.label)
    }


def told(score: Score | None) -> str:
    """A score with its interval, or none."""
    if score is None:
        return NONE
    return interval({"mean": score.mean, "low": score.low, "high": score.high})


def of_models(findings: Findings) -> Table | None:
    """How alike two models order explainers by each measure; None where there is one model."""
    rows = [
        (called(name), minus(mean), minus(least))
        for name, (mean, least) in findings.models_agree.items()
        if name in findings.bench.reported
    ]
    if not rows:
        return None
    notes = "Kendall's τ between the orders that two models, trained from other seeds, give."
    head = ("measure", "mean τ", "least τ")
    return Table(head, rows, notes, caption="Do two models agree")


def of_strata(findings: Findings, by: str) -> Table | None:
    """The leading measure by parts of the users; None where all are alike."""
    parts, measure = findings.strata[by], (findings.telling or [""])[0]
    if len(parts) < 2 or not measure:
        return None
    words = {"events": "{} past events", "popularity": "chosen {} times before"}[by]
    head = ["explainer", *(words.format(part.bounds) for part in parts)]
    rows = [
        [plain(e.label), *(_in(part.averages.of(e.unit, measure)) for part in parts)]
        for e in ordered(findings)
    ]
    users = ", ".join(str(part.users) for part in parts)
    what = {"events": "past events of the user", "popularity": "popularity of the item"}[by]
    caption = f"{begun(called(measure))} by the {what} ({WAYS[findings.bench.better[measure]]})"
    return _of_explainers(findings, head, rows, f"Users in each part: {users}.", caption)


def _in(values: Any) -> str:
    found = bootstrap(values)
    return interval(found) if found["users"] else NONE


def cost_of(findings: Findings, entrant: Entrant) -> Table | None:
    """What each setting of an explainer scores and costs; None where none was timed."""
    rows = []
    for setting in entrant.settings:
        unit = (entrant.label, setting)
        if cost := findings.costs.get(unit):
            means = [findings.averages.mean(unit, name) for name in findings.telling[:2]]
            scores = [NONE if isnan(mean) else interval({"mean": mean}) for mean in means]
            rows.append([setting or "as it is", *scores, *_costs(cost).values()])
            head = ["set to", *(called(name) for name in findings.telling[:2]), *_costs(cost)]
    strong = [entrant.chosen or "as it is"] if len(rows) > 1 else []
    notes = "The setting that was chosen is set off." if strong else ""
    return Table(head, rows, notes, strong, "What it costs") if rows else None


def _costs(cost: Cost) -> dict[str, str]:
    """By their heads; fitting only of those that learn."""

    def count(name: str) -> str:
        return f"{cost[name]:,.0f}" if name in cost else NONE

    times = {f"{name} ms": milliseconds(cost.get(name)) for name in ("first", "p50", "p95")}
    counts = {name: count(name) for name in ("forward", "backward")}
    told = {**times, "rows/s": count("throughput"), **counts}
    told["peak MB"] = megabytes(cost.get("peak_bytes"))
    return {**told, "fitting s": count("fit_seconds")} if "fit_seconds" in cost else told


def _of_explainers(
    findings: Findings,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: str,
    caption: str,
    best: set[tuple[int, int]] | None = None,
) -> Table:
    """A table with a row for each explainer: marked where it must be, linked to its page."""
    bench = findings.bench
    return Table(
        head,
        rows,
        notes,
        caption=caption,
        best=best or (),
        marks=marks(bench),
        links=links(bench),
    )
