"""What compressing the model or making it private does to it, and to its explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import polars as pl

from xrec.bench.files import BOUNDS
from xrec.bench.findings import Findings
from xrec.bench.wording import NONE, SPACE, called, few, megabytes, milliseconds
from xrec.report.multiples import Panel, multiples
from xrec.report.section import Block, Picture, Table, Text
from xrec.report.summary import ARROWS, interval
from xrec.report.words import plain

#: What is told of a variant beside the leading measures: its words, and which way is better.
BEFORE = {"ndcg@10": ("ndcg@10", "higher")}
AFTER = {
    "agreement_rank": ("same order", "higher"),
    "agreement_top": ("same top", "higher"),
    "p50": ("p50 ms", "lower"),
    "peak_bytes": ("peak MB", "lower"),
    "model_bytes": ("model MB", "lower"),
    "leakage": ("leakage", "lower"),
    "leakage_explanation": ("leakage, explained", "lower"),
}
COSTS = ("p50", "peak_bytes", "model_bytes", "leakage", "leakage_explanation")
SCALES = {"p50": 1e3, "peak_bytes": 1e-6, "model_bytes": 1e-6}
NOTES = (
    "Medians over explainers; floors and ceilings are left out. same order and same top: how far "
    "an explanation agrees with that of the model as it was trained, by rank correlation and by "
    "the share of features that both have on top. leakage: how well it can be told from scores "
    "(explained: from explanations) which events were trained on; 0.5 is chance."
)
FIRST = (
    "A circle is an explainer, the bar the median of all, and the dashed line the median for “{}”: "
    "the further a bar is from it, the more that variant changes."
)


def grid(findings: Findings) -> list[Block]:
    """The grid as small multiples and as a table; empty where none was made."""
    rows = _rows(findings)
    if not rows:
        return []
    names, variants = _names(findings, rows), list(dict.fromkeys(row["variant"] for row in rows))
    panels = [_panel(rows, name, told) for name, told in names.items()]
    words = "; ".join(f"{panel.title}: {_told(panel, variants)}" for panel in panels)
    drawn = Picture(
        multiples(variants, panels),
        f"The median over explainers for each variant of the model. {words}.",
        "What each variant of the model keeps, and what it costs",
        wide=True,
    )
    medians = [_median(rows, names, variant) for variant in variants]
    tables = _tables(names, medians, NOTES, variants[:1])
    return [Text(FIRST.format(variants[0])), drawn, *tables, *_failed(rows)]


def of_explainer(findings: Findings, label: str) -> list[Table]:
    """What the variants do to one explainer; empty where it is not in the grid."""
    rows = [row for row in _rows(findings, bounds=True) if row["explainer"] == label]
    return _tables(_names(findings, rows), rows) if rows else []


def _rows(findings: Findings, bounds: bool = False) -> list[dict[str, Any]]:
    """The cells of the grid, of floors and ceilings too if asked; NaN is None."""
    table, explainers = findings.bench.tradeoff, findings.bench.explainers
    if table is None:
        return []
    kept = [e for e, made in explainers.items() if bounds or made.standing not in BOUNDS]
    return table.filter(pl.col("explainer").is_in(kept)).fill_nan(None).to_dicts()


def _names(findings: Findings, rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """The columns that are told and hold something, with their words and which way is better."""
    measures = {name: (called(name), findings.bench.better[name]) for name in findings.telling}
    return {
        name: told
        for name, told in {**BEFORE, **measures, **AFTER}.items()
        if any(row.get(name) is not None for row in rows)
    }


def _panel(rows: Sequence[Mapping[str, Any]], name: str, told: tuple[str, str]) -> Panel:
    values: dict[str, list[float]] = {}
    for row in rows:
        if row[name] is not None:
            values.setdefault(row["variant"], []).append(SCALES.get(name, 1) * row[name])
    return Panel(*told, values)


def _told(panel: Panel, variants: Sequence[str]) -> str:
    known = [each for each in variants if panel.values.get(each)]
    return ", ".join(f"{each} {median(panel.values[each]):.3g}" for each in known)


def _median(
    rows: Sequence[Mapping[str, Any]], names: Mapping[str, tuple[str, str]], variant: str
) -> dict[str, Any]:
    """A variant's medians over explainers."""
    own = [row for row in rows if row["variant"] == variant]
    known = {name: [row[name] for row in own if row[name] is not None] for name in names}
    return {"variant": variant, **{n: median(each) if each else None for n, each in known.items()}}


def _tables(
    names: Mapping[str, tuple[str, str]],
    rows: Sequence[Mapping[str, Any]],
    notes: str = "",
    strong: Sequence[str] = (),
) -> list[Table]:
    """What is kept, and what it costs, a row for each variant."""
    parts: dict[str, list[str]] = {"What is kept": [], "What it costs": []}
    for name in names:
        parts["What it costs" if name in COSTS else "What is kept"].append(name)
    tables = []
    for caption, part in parts.items():
        head = ["variant", *(f"{names[n][0]}{SPACE}{ARROWS[names[n][1]]}" for n in part)]
        cells = [[row["variant"], *(_shown(name, row[name]) for name in part)] for row in rows]
        if part:
            tables.append(Table(head, cells, strong=strong, caption=caption))
    return [*tables[:-1], *(replace(last, notes=notes) for last in tables[-1:])]


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return NONE
    if name == "p50":
        return milliseconds(value)
    return megabytes(value) if name.endswith("bytes") else interval({"mean": value})


def _failed(rows: Sequence[Mapping[str, Any]]) -> list[Text]:
    """Why some cells hold nothing."""
    whys = [
        f"{plain(r['explainer'])} on {r['variant']} ({r['said']})" for r in rows if r.get("said")
    ]
    return [Text(f"What could not be measured: {few(whys, 5)}.")] if whys else []
