"""A benchmark in short, for who has ten minutes: every sentence follows from its numbers."""

from __future__ import annotations

import numpy as np

from xrec.bench.cautions import cautions
from xrec.bench.findings import Findings
from xrec.bench.pictures import ranked_pairs
from xrec.bench.use import paid
from xrec.bench.wording import (
    NONE,
    by,
    called,
    figure,
    lasting,
    links,
    marks,
    milliseconds,
    shares,
    unit,
)
from xrec.report.section import Chapter, Table, Terms
from xrec.report.words import WAYS, minus, plain

STEPS = (
    "Of explainers that pass their gates and beat every floor by this measure, those on the front "
    "of score against time; a slower one has a row only where a paired bootstrap over users says "
    "that it is better than the row above. In brackets: the 95\N{NO-BREAK SPACE}% interval."
)


def short(findings: Findings) -> Chapter:
    """What to use, what it costs, how far to believe that, and what to beware of."""
    pairs = [
        ("What to use", _use(findings)),
        ("What it costs", _cost(findings)),
        ("Planted causes", _planted(findings)),
        ("Do measures agree", _agree(findings)),
        ("How sure", _sure(findings)),
        ("Beware", " ".join(cautions(findings)) or "None of what is checked gives cause to."),
    ]
    steps = [_steps(findings)] if findings.steps else []
    return Chapter("In short", [Terms([each for each in pairs if each[1]]), *steps])


def _use(findings: Findings) -> str:
    if not findings.telling:
        return "No measure judged any explanation, so that there is nothing to choose by."
    name = called(findings.telling[0])
    if not findings.steps:
        return (
            f"None of them yet: by {name}, no explainer that passes its gates and was timed is "
            "surely better than every floor, so that a simple rule does as well."
            + _leader(findings)
        )
    first, *rest = findings.steps
    told = [
        f"With {lasting(first.seconds)} for an explanation: {unit(first.unit)} ({name} "
        f"{figure(first.score)}).",
        *(
            f"With {lasting(step.seconds)}: {unit(step.unit)} ({figure(step.score)}, better by "
            f"{figure(step.gain)})."
            for step in rest
        ),
    ]
    return f"{' '.join(told)} By {name}, more time buys no more.{_leader(findings)}"


def _leader(findings: Findings) -> str:
    if findings.leader is None:
        return ""
    label = findings.leader.label
    level = by(len(findings.level(label)), len(findings.judging(label)))
    return f" By all measures taken together: {plain(label)}, level with the best by {level}."


def _cost(findings: Findings) -> str:
    entrants = [e for e in findings.bench.explainers.values() if e.standing != "floor"]
    timed = {e.label: findings.time(e) for e in entrants if e.unit in findings.costs}
    if not timed:
        return "Nothing was timed."
    least, most = min(timed, key=timed.__getitem__), max(timed, key=timed.__getitem__)
    told = f"One explanation takes {lasting(timed[least])} ({plain(least)})"
    if most != least:
        told += f" to {lasting(timed[most])} ({plain(most)})"
    told += ", floors apart: the median at batch 1, with the settings that were chosen."
    fitted = [paid(findings, label, plain(label)) for label in findings.break_even]
    return " ".join([told, *fitted])


def _planted(findings: Findings) -> str:
    known = [share for share in findings.bench.taken_up.values() if share is not None]
    if not known:
        return (
            "The true causes are not known of these data: explanations are held against what the "
            "model does when features are taken away, not against what is true."
        )
    told = f"The model uses the planted causes in {shares(known)} of recommendations"
    return (
        f"{told}, and explainers are held against these causes. Where it does not use them, an "
        "explainer that misses them may well be right."
    )


def _agree(findings: Findings) -> str:
    pairs = ranked_pairs(findings)
    if not pairs:
        return ""
    least, one, other = pairs[0]
    against = sum(tau < 0 for tau, *_ in pairs)
    told = (
        f"The orders in which two measures put explainers have a Kendall's τ of "
        f"{minus(float(np.mean([tau for tau, *_ in pairs])))} on average (1: the same order, 0: "
        f"unrelated); the least is {minus(least)}, of {one} and {other}."
    )
    if against:
        told += f" {against} of {len(pairs)} pairs put them in contrary orders (τ below 0)."
    return told


def _sure(findings: Findings) -> str:
    bench = findings.bench
    models, draws = (bench.test[name].n_unique() for name in ("model", "draw"))
    told = (
        f"Figures are means over {len(findings.averages.users):,} test users, {_count(models)} "
        f"trained model{'s' if models != 1 else ''} and {_count(draws)} draw"
        f"{'s' if draws != 1 else ''} of each explainer; settings were chosen on other users."
    )
    tau = findings.models_agree.get(findings.telling[0]) if findings.telling else None
    if tau is not None:
        told += (
            f" Two models order explainers by {called(findings.telling[0])} with a τ of "
            f"{minus(tau[1])} at least."
        )
    return told


def _count(number: int) -> str:
    return "one" if number == 1 else f"{number:,}"


def _steps(findings: Findings) -> Table:
    """Which to use in the time there is."""
    measure, bench = findings.telling[0], findings.bench
    rows = []
    for step in findings.steps:
        label, setting = step.unit
        gain = f"{figure(step.gain)} ({figure(step.low)} to {figure(step.high)})"
        level = f"{len(findings.level(label))} of {len(findings.judging(label))}"
        rows.append(
            (
                plain(label),
                setting or NONE,
                milliseconds(step.seconds),
                figure(step.score),
                gain if step.gain > 0 else NONE,
                level if step.unit == bench.explainers[label].unit else NONE,
            )
        )
    name = called(measure)
    head = ("use", "set to", "from ms", name, "better than the row above by", "level with the best")
    caption = f"Which to use in the time there is, by {name} ({WAYS[bench.better[measure]]})"
    return Table(head, rows, STEPS, caption=caption, marks=marks(bench), links=links(bench))
