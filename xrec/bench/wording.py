"""The words that a benchmark's report has for measures, times, shares and counts."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from urllib.parse import quote

from xrec.bench.files import Bench, Entrant, Unit
from xrec.bench.findings import Findings
from xrec.report.summary import interval
from xrec.report.words import listed, percent, plain

OPERATORS = ("remove", "baseline", "resample")
SPACE = "\N{NO-BREAK SPACE}"
NONE = "–"
FAILS = "fails a gate"


def called(measure: str) -> str:
    """A measure in words: "deletion@remove" → "deletion (remove)"."""
    operator = operator_of(measure)
    return (
        f"{plain(measure.removesuffix(f'@{operator}'))} ({operator})"
        if operator
        else plain(measure)
    )


def operator_of(measure: str) -> str:
    """The removal operator under which a measure was taken; "" where under none."""
    name, _, operator = measure.rpartition("@")
    return operator if name and operator in OPERATORS else ""


def begun(text: str) -> str:
    """A text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def lasting(seconds: float) -> str:
    """A time with two figures that mean something: 0.04 ms, 3.2 ms, 48 ms, 2.1 s, 4 min."""
    if seconds >= 120:
        return f"{seconds / 60:,.0f}{SPACE}min"
    value, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    if unit == "ms" and value < 0.01:
        return f"<0.01{SPACE}ms"
    return f"{value:.0f}{SPACE}{unit}" if value >= 10 else f"{value:.2g}{SPACE}{unit}"


def milliseconds(seconds: float | None) -> str:
    """The same for a column of milliseconds."""
    if seconds is None or isnan(seconds):
        return NONE
    value = 1000 * seconds
    return "<0.01" if value < 0.01 else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def megabytes(size: float | None) -> str:
    """Bytes, for a column of megabytes."""
    if size is None or isnan(size):
        return NONE
    return f"{size / 1e6:,.0f}" if size >= 1e7 else f"{size / 1e6:.1f}"


def ratio(mine: float, other: float) -> str:
    """A time beside another's: "0.02 of the time", "about the time", "3.1 times the time"."""
    share = mine / max(other, 1e-9)
    if 0.8 <= share <= 1.25:
        return "about the time"
    if share < 1:
        return "less than 0.001 of the time" if share < 0.001 else f"{share:.1g} of the time"
    return f"{share:,.0f} times the time" if share >= 10 else f"{share:.1f} times the time"


def figure(value: float) -> str:
    """A score within a sentence: as tables have it, with a real minus sign."""
    return interval({"mean": value}).replace("-", "−")


def unit(each: Unit) -> str:
    """An explainer and how it is set: "kernel shap, evaluations=512"."""
    label, setting = each
    return f"{plain(label)}, {setting}" if setting else plain(label)


def by(count: int, of: int) -> str:
    """How many of the measures."""
    return f"{count} of {of} measure{'s' if of != 1 else ''}"


def mark(entrant: Entrant) -> str:
    """What must be known of an explainer wherever it is named: its standing, and a failed gate."""
    return ", ".join(each for each in (entrant.standing, FAILS if entrant.failed else "") if each)


def marks(bench: Bench) -> dict[str, str]:
    """The marks of a table, by the name that it has there."""
    return {plain(label): told for label, each in bench.explainers.items() if (told := mark(each))}


def ordered(findings: Findings) -> list[Entrant]:
    """Explainers as tables have them: by standing, then who is most often best, then by time."""
    kinds = ("", "heuristic", "ceiling", "floor")

    def key(entrant: Entrant) -> tuple[int, int, float]:
        wins = len(findings.level(entrant.label))
        return kinds.index(entrant.standing), -wins, findings.time(entrant)

    return sorted(findings.bench.explainers.values(), key=key)


def links(bench: Bench, folder: str = "explainers/") -> dict[str, str]:
    """The page of each explainer, by the name that a table has for it."""
    return {plain(label): f"{folder}{quote(label)}.html" for label in bench.explainers}


def few(names: Sequence[str], most: int) -> str:
    """Names in a sentence, of which no more than `most` are told: a, b and 4 more."""
    return listed([*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])])


def counted(number: int, what: str) -> str:
    """A number of things: "1 model", "200 test users"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def shares(values: Sequence[float]) -> str:
    """Shares of several models: 91 % to 95 %, or one figure where they look alike."""
    least, most = percent(min(values)), percent(max(values))
    return least if least == most else f"{least} to {most}"
