"""The report of a benchmark: a page to decide by, and a page for each explainer."""

from __future__ import annotations

from pathlib import Path

from xrec import plugins

try:
    import matplotlib  # noqa: F401 its charts are drawn with it
except ModuleNotFoundError as error:
    raise plugins.lacking("xrec bench", error) from error

from xrec.bench.files import Bench
from xrec.bench.findings import Findings
from xrec.bench.grid import grid
from xrec.bench.method import meanings, method
from xrec.bench.pictures import KEY, agreement, faithfulness
from xrec.bench.portrait import portrait
from xrec.bench.short import short
from xrec.bench.tables import every_score, of_models, of_strata, overview
from xrec.bench.wording import mark
from xrec.files import written
from xrec.report.page import page
from xrec.report.section import Block, Chapter, Text
from xrec.report.words import plain

INDEX = "report.html"
DRAWN = 2  # measures that are drawn against time
AGREEMENT = (
    "Each number tells how alike two measures order the explainers, ceilings apart: 1 is the same "
    "order, 0 is none in common, below 0 is contrary. The number of a column is that of the "
    "measure on its left. Measures that are not alike ask for different things: which explainer is "
    "best depends on which of these is wanted."
)
STRATA = (
    "A mean over all users hides whom an explainer serves worse. Here are those with short and "
    "long histories, and those who were recommended rare and popular items, a third each."
)


def write_report(folder: Path) -> Path:
    """Write `report.html` and `explainers/<label>.html` into a benchmark's folder; returns the
    former, which is written last.

    Each page is whole or not there. Raises RunError where the folder holds no finished benchmark.
    """
    findings = Findings(Bench.open(folder))
    title = f"Which explanations of {findings.bench.recipe} to believe"
    for label, entrant in findings.bench.explainers.items():
        told = mark(entrant)
        name = f"{plain(label)} ({told})" if told else plain(label)
        html = page(name, portrait(findings, entrant), (f"../{INDEX}", title))
        _write(folder / "explainers" / f"{label}.html", html)
    _write(folder / INDEX, page(title, index(findings)))
    return folder / INDEX


def index(findings: Findings) -> list[Chapter]:
    """The chapters of the first page, for a lead first and for experts after."""
    return [
        short(findings),
        Chapter("Faithfulness against time", _charts(findings)),
        Chapter("Every explainer", [overview(findings), *every_score(findings)]),
        Chapter("Do measures and models agree", _agreement(findings)),
        Chapter("Whom they serve", _strata(findings)),
        Chapter("Smaller and more private models", grid(findings)),
        method(findings.bench),
        meanings(findings.bench),
    ]


def _charts(findings: Findings) -> list[Block]:
    drawn = [faithfulness(findings, measure) for measure in findings.telling[:DRAWN]]
    pictures: list[Block] = [each for each in drawn if each]
    return [*pictures, Text(KEY)] if pictures else []


def _agreement(findings: Findings) -> list[Block]:
    picture, models = agreement(findings), of_models(findings)
    blocks: list[Block] = [picture, Text(AGREEMENT)] if picture else []
    return [*blocks, *([models] if models else [])]


def _strata(findings: Findings) -> list[Block]:
    tables = [of_strata(findings, by) for by in findings.strata]
    told: list[Block] = [each for each in tables if each]
    return [Text(STRATA), *told] if told else []


def _write(path: Path, text: str) -> None:
    with written(path) as partial:
        partial.write_text(text, encoding="utf-8")
