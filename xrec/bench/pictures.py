"""What a benchmark found, drawn: each picture with the words that stand for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xrec.bench.findings import Findings
from xrec.bench.wording import begun, called, figure, lasting, unit
from xrec.report.curves import Curve, curves
from xrec.report.drawing import Dot
from xrec.report.matrix import matrix
from xrec.report.section import Picture
from xrec.report.words import WAYS, plain

KEY = (
    "● explainer, ◇ heuristic, △ ceiling: as exact as can be, at whatever cost, □ floor: a rule "
    "too simple to trust, which an explainer worth its cost must beat. A line joins the budgets "
    "that were tried; the large mark is the one that was chosen on other users, with its "
    "95\N{NO-BREAK SPACE}% interval. The broad band is the front of what was chosen: of "
    "explainers that pass their gates, nothing quicker is better. * fails a gate."
)


def faithfulness(findings: Findings, measure: str, only: str = "") -> Picture | None:
    """A measure against time, of every explainer; the others are faint where `only` one is told.

    None where nothing to draw was both scored and timed.
    """
    bench = findings.bench
    lines = {label: _curve(findings, label, measure, only) for label in bench.explainers}
    drawn = {label: line for label, line in lines.items() if line}
    if not drawn or (only and only not in drawn):
        return None
    front = findings.front(measure)
    band = [(1000 * findings.costs[u]["p50"], findings.averages.mean(u, measure)) for u in front]
    told = [
        f"{line.chosen.name} {figure(line.chosen.y)} at {lasting(line.chosen.x / 1000)}"
        for line in drawn.values()
        if not line.faint
    ]
    words = (
        f"{called(measure)} against the time of an explanation, {WAYS[bench.better[measure]]}: "
        f"{'; '.join(told)}. On the front, quickest first: "
        f"{'; '.join(unit(each) for each in front) or 'none'}."
    )
    caption = f"{begun(called(measure))}: {WAYS[bench.better[measure]]}"
    svg = curves(list(drawn.values()), band, bench.better[measure])
    return Picture(svg, words, caption, wide=True)


def _curve(findings: Findings, label: str, measure: str, only: str) -> Curve | None:
    entrant = findings.bench.explainers[label]
    score = findings.scores[label].get(measure)
    points = findings.curve(label, measure)
    if score is None or entrant.unit not in findings.costs:
        return None
    name = plain(label) + ("*" if entrant.failed else "")
    dot = Dot(
        name,
        1000 * findings.costs[entrant.unit]["p50"],
        score.mean,
        score.low,
        score.high,
        entrant.standing,
    )
    return Curve(dot, [(1000 * x, y) for _, x, y in points], faint=only not in ("", label))


def agreement(findings: Findings) -> Picture | None:
    """How alike measures order explainers; None where no two can be compared."""
    names = [called(name) for name in findings.bench.reported]
    pairs = ranked_pairs(findings)
    if not pairs:
        return None
    values = [tau for tau, *_ in pairs]
    lowest = "; ".join(f"{a} and {b} {tau:.2f}" for tau, a, b in pairs[:3])
    highest = "; ".join(f"{a} and {b} {tau:.2f}" for tau, a, b in pairs[::-1][:3])
    words = (
        f"Kendall's τ between the orders that {len(names)} measures give explainers: "
        f"{np.mean(values):.2f} on average. Least alike: {lowest}. Most alike: {highest}."
    )
    svg = matrix(names, findings.measures_agree)
    return Picture(svg, words, "How alike two measures order explainers (Kendall's τ)", wide=True)


def ranked_pairs(findings: Findings) -> Sequence[tuple[float, str, str]]:
    """τ of every two measures, and their names, the least alike first."""
    names = [called(name) for name in findings.bench.reported]
    taus = findings.measures_agree
    return sorted(
        (float(taus[row, column]), names[column], names[row])
        for row in range(len(names))
        for column in range(row)
        if not np.isnan(taus[row, column])
    )
