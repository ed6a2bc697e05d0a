"""What to beware of in a benchmark, where its numbers give cause to."""

from __future__ import annotations

import numpy as np

from xrec.bench.files import Bench
from xrec.bench.findings import Findings
from xrec.bench.wording import begun, called, few, shares
from xrec.report.words import listed, minus, plain

USED = 0.5  # share of recommendations in which a model must use the planted causes
ALIKE = 0.3  # mean τ below which measures can hardly be said to measure the same
MANY = 50  # users, below which intervals from a bootstrap are too narrow


def cautions(findings: Findings) -> list[str]:
    """Sentences; none where nothing that is checked gives cause to."""
    told = [
        _gates(findings.bench),
        _planted(findings.bench),
        _floors_first(findings),
        _no_better(findings),
        _disagreement(findings),
        _unjudged(findings.bench),
        _untimed(findings),
        _few(findings),
    ]
    return [each for each in told if each]


def _gates(bench: Bench) -> str:
    failing = [
        f"{plain(e.label)} ({', '.join(map(plain, e.failed))})"
        for e in bench.explainers.values()
        if e.failed
    ]
    if not failing:
        return ""
    one = "fails a gate" if len(failing) == 1 else "fail gates"
    return f"{listed(failing)} {one}, so that no score makes up for it; not advised."


def _planted(bench: Bench) -> str:
    known = [share for share in bench.taken_up.values() if share is not None]
    if not known or min(known) >= USED:
        return ""
    return (
        f"The plant is hardly taken up ({shares(known)}): what is held against planted causes "
        "blames explainers for what the model did not learn."
    )


def _floors_first(findings: Findings) -> str:
    """The measures by which the best of all is a floor."""
    first: dict[str, list[str]] = {}
    for measure, found in findings.verdicts.items():
        for label, verdict in found.items():
            if verdict.place == 1 and findings.bench.explainers[label].standing == "floor":
                first.setdefault(plain(label), []).append(called(measure))
    told = [f"the floor {label} is the best by {listed(names)}" for label, names in first.items()]
    return begun(f"{'; '.join(told)}.") if told else ""


def _no_better(findings: Findings) -> str:
    """Who is not surely better than the floors by the most telling measure."""
    if not findings.telling:
        return ""
    measure = findings.telling[0]
    weak = [
        plain(label)
        for label, verdict in findings.verdicts[measure].items()
        if verdict.beating and not verdict.beats
    ]
    if not weak:
        return ""
    are = "is" if len(weak) == 1 else "are"
    return f"By {called(measure)}, {few(weak, 5)} {are} not surely better than every floor."


def _disagreement(findings: Findings) -> str:
    taus = findings.measures_agree[np.tril_indices(len(findings.measures_agree), -1)]
    known = taus[~np.isnan(taus)]
    if not len(known) or known.mean() >= ALIKE:
        return ""
    return (
        f"Measures hardly agree (mean τ {minus(float(known.mean()))}): which explainer is best "
        "depends on which of them one believes."
    )


def _unjudged(bench: Bench) -> str:
    missing = [called(name) for name in bench.better if name not in bench.judged]
    told = f"Nothing could be judged by {few(missing, 5)}." if missing else ""
    if bench.select not in bench.judged:
        told += f" Settings were to be chosen by {called(bench.select)}, which judged no test user."
    return told.strip()


def _untimed(findings: Findings) -> str:
    missing = [
        plain(each.label)
        for each in findings.bench.explainers.values()
        if each.unit not in findings.costs
    ]
    return f"Not timed, and so in no chart: {few(missing, 5)}." if missing else ""


def _few(findings: Findings) -> str:
    users = len(findings.averages.users)
    told = f"Only {users} users were explained: the intervals are rough." if users < MANY else ""
    if findings.bench.test["model"].n_unique() == 1:
        told += " One model was trained: how explainers fare on another is not known."
    return told.strip()
