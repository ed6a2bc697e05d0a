"""When to use an explainer, in plain words that follow from its numbers."""

from __future__ import annotations

from math import inf, isfinite

from xrec.bench.files import Entrant
from xrec.bench.findings import Findings
from xrec.bench.wording import by, called, figure, lasting, ratio, unit
from xrec.fidelity.statistics import bootstrap
from xrec.report.words import listed, plain

STANDING = {
    "floor": "A floor, for others to beat: nothing to show to people.",
    "ceiling": "A ceiling: what others can at most come close to, whatever the time it takes.",
    "heuristic": "A heuristic: its numbers rank features, and stand for no defined quantity.",
}
PARTS = {"events": "users with {} past events", "popularity": "items chosen {} times before"}


def use(findings: Findings, entrant: Entrant) -> list[str]:
    """Sentences, the most important first; one at least."""
    told = [
        _gates(entrant),
        STANDING.get(entrant.standing, ""),
        _faithful(findings, entrant),
        _floors(findings, entrant),
        _advised(findings, entrant) if entrant.eligible else "",
        paid(findings, entrant.label),
        *_uneven(findings, entrant),
    ]
    return [each for each in told if each]


def _gates(entrant: Entrant) -> str:
    if not entrant.failed:
        return ""
    why = listed([f"{plain(gate)} ({_why(entrant, gate)})" for gate in entrant.failed])
    gates = "a gate" if len(entrant.failed) == 1 else f"{len(entrant.failed)} gates"
    return f"Do not rely on it: it fails {gates}, {why}."


def _why(entrant: Entrant, gate: str) -> str:
    return entrant.gates[gate].partition(": ")[2] or "no reason is given"


def _faithful(findings: Findings, entrant: Entrant) -> str:
    """How often it is level with the best, and how its time compares with the leader's."""
    judging, leader = findings.judging(entrant.label), findings.leader
    if not judging:
        return "No measure that is reported could judge it."
    if not entrant.competes:
        return ""
    told = f"As faithful as the best by {by(len(findings.level(entrant.label)), len(judging))}"
    mine = findings.time(entrant)
    if leader is None:
        return told + "."
    if leader.label == entrant.label:
        taken = f", in {lasting(mine)} an explanation" if isfinite(mine) else ""
        return f"{told}{taken}; no other that may be advised is so by more."
    time = findings.time(leader)
    beside = f"in {ratio(mine, time)} of " if isfinite(mine + time) else "beside "
    most = by(len(findings.level(leader.label)), len(findings.judging(leader.label)))
    return f"{told}, {beside}{plain(leader.label)}, which is so most often ({most})."


def _floors(findings: Findings, entrant: Entrant) -> str:
    told = {m: findings.verdicts[m][entrant.label] for m in findings.judging(entrant.label)}
    compared = [measure for measure, each in told.items() if each.beating]
    if not compared:
        return ""
    beaten = findings.beaten(entrant.label)
    if not beaten:
        return "By no measure is it surely better than every floor: a simple rule does as well."
    return f"Surely better than every floor by {by(len(beaten), len(compared))}."


def _advised(findings: Findings, entrant: Entrant) -> str:
    """Whether, and in what time, it is the one to use by the most telling measure."""
    if not findings.telling:
        return ""
    name, steps = called(findings.telling[0]), findings.steps
    for at, step in enumerate(steps):
        if step.unit[0] == entrant.label:
            most = f" and less than {lasting(steps[at + 1].seconds)}" if at + 1 < len(steps) else ""
            setting = f" with {step.unit[1]}" if step.unit[1] else ""
            return (
                f"Use it{setting} where an explanation may take {lasting(step.seconds)} or more"
                f"{most}: by {name} ({figure(step.score)}) nothing quicker is as good."
            )
    quicker = [step for step in steps if step.seconds <= findings.time(entrant)]
    if not quicker or findings.time(entrant) == inf:
        return ""
    return f"By {name}, {unit(quicker[-1].unit)} is the one to use in the time that it takes."


def paid(findings: Findings, label: str, name: str = "it") -> str:
    """When fitting an explainer, called by `name`, pays off; empty of those that need none."""
    if label not in findings.break_even:
        return ""
    told = findings.break_even[label]
    fitting = f"Fitting {name} takes {lasting(told.seconds)}"
    if not told.rival:
        return f"{fitting}; nothing that was timed and needs none is as faithful."
    rival = f"{plain(told.rival)}, the quickest of those that need none and are as faithful"
    if told.explanations is None:
        return f"{fitting} and never pays off beside {rival}."
    return f"{fitting}, which pays off after {told.explanations:,.0f} explanations beside {rival}."


def _uneven(findings: Findings, entrant: Entrant) -> list[str]:
    """Whom it surely serves worse, by the most telling measure."""
    told = []
    for by_what, parts in findings.strata.items():
        found = []
        for part in parts if findings.telling else ():
            score = bootstrap(part.averages.of(entrant.unit, findings.telling[0]))
            if score["users"]:
                found.append((score, PARTS[by_what].format(part.bounds)))
        if len(found) < 2:
            continue
        found.sort(key=lambda each: each[0]["mean"])
        if findings.bench.better[findings.telling[0]] == "lower":
            found.reverse()
        (worst, whom), (best, others) = found[0], found[-1]
        if worst["high"] < best["low"] or best["high"] < worst["low"]:
            told.append(
                f"Less faithful for {whom} ({figure(worst['mean'])} by "
                f"{called(findings.telling[0])}) than for {others} ({figure(best['mean'])})."
            )
    return told
