"""The page of one explainer: when to use it, its gates and scores, its cost, and whom it serves."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from xrec.bench.files import Entrant
from xrec.bench.findings import Findings
from xrec.bench.grid import of_explainer
from xrec.bench.pictures import faithfulness
from xrec.bench.scores import Range, Score
from xrec.bench.tables import cost_of, told
from xrec.bench.use import use
from xrec.bench.wording import NONE, called, figure
from xrec.report.section import Block, Chapter, Table, Text
from xrec.report.summary import ARROWS, mean
from xrec.report.words import plain

SCORES = (
    "↑ higher is better, ↓ lower is better; ± is half of the 95\N{NO-BREAK SPACE}% bootstrap "
    "interval over users; place: of those that compete, bold where it is level with the best; over "
    "the floor: how much better than the best of the floors, p corrected for the number of "
    "explainers (Holm), bold where it is surely better than every floor; by model and by draw: the "
    "least and the most of the means of each model, or each draw of the explainer, alone."
)
KEY = (
    "The large mark is the setting that was chosen, the grey ones are the other explainers, and "
    "the broad band is the front: of those that pass their gates, nothing quicker is better."
)
STRATA = "Means over the users of each part."


def portrait(findings: Findings, entrant: Entrant) -> list[Chapter]:
    """The chapters of its page."""
    return [
        Chapter("When to use it", [Text(entrant.says), *map(Text, use(findings, entrant))]),
        Chapter("Is it sound", _gates(entrant)),
        Chapter("Every score", _scores(findings, entrant)),
        Chapter("What it costs", _cost(findings, entrant)),
        Chapter("Whom it serves", _strata(findings, entrant)),
        Chapter("On smaller and more private models", of_explainer(findings, entrant.label)),
    ]


def _gates(entrant: Entrant) -> list[Block]:
    """Every gate, and whether it is passed."""
    if not entrant.gates:
        return [Text("No gate was tried.")]
    rows = [(plain(gate), *_outcome(what)) for gate, what in entrant.gates.items()]
    failed = [plain(gate) for gate in entrant.failed]
    said = Text("Gates are what an explainer must pass before its scores mean anything.")
    return [said, Table(("gate", "outcome", "why"), rows, strong=failed)]


def _outcome(what: str) -> tuple[str, str]:
    outcome, _, why = what.partition(": ")
    return outcome, why or NONE


def _scores(findings: Findings, entrant: Entrant) -> list[Block]:
    bench, found = findings.bench, findings.scores[entrant.label]
    names = [name for name in bench.reported if name in found]
    if not found:
        return [Text("No measure could judge it.")]
    rows = [_score(findings, entrant, name, found[name]) for name in names]
    head = ("measure", "score", "place", "over the floor", "p", "by model", "by draw", "users")
    level, beaten = findings.level(entrant.label), findings.beaten(entrant.label)
    best = {(at, 2) for at, name in enumerate(names) if name in level}
    best |= {(at, column) for at, name in enumerate(names) if name in beaten for column in (3, 4)}
    table = Table(head, rows, SCORES, caption="By each measure, on test users", best=best)
    chosen = found.get(bench.select)
    if chosen is None:
        return [table]
    words = f"Its setting was chosen by {called(bench.select)}, on other users; on these it has "
    return [table, Text(f"{words}{told(chosen)}, which is not counted.")]


def _score(findings: Findings, entrant: Entrant, name: str, score: Score) -> list[str]:
    verdict = findings.verdicts[name][entrant.label]
    compete = sum(each.place > 0 for each in findings.verdicts[name].values())
    beating = verdict.beating
    return [
        f"{called(name)} {ARROWS[findings.bench.better[name]]}",
        told(score),
        f"{verdict.place} of {compete}" if verdict.place else NONE,
        f"{beating.gap:+.3f}" if beating and not isnan(beating.gap) else NONE,
        mean({"mean": beating.p}) if beating and not isnan(beating.p) else NONE,
        _range(score.models),
        _range(score.draws),
        f"{score.users:,}",
    ]


def _range(values: Range | None) -> str:
    return NONE if values is None else f"{figure(values[0])} to {figure(values[1])}"


def _cost(findings: Findings, entrant: Entrant) -> list[Block]:
    """A chart of the leading measure with the others faint, and the costs of every setting."""
    table = cost_of(findings, entrant)
    if table is None:
        return [Text("It was not timed.")]
    leading: Sequence[str] = findings.telling[:1]
    drawn = [faithfulness(findings, name, only=entrant.label) for name in leading]
    pictures = [each for each in drawn if each]
    return [*pictures, *([Text(KEY)] if pictures else []), table]


def _strata(findings: Findings, entrant: Entrant) -> list[Block]:
    """A row for each measure, a column for each part of the users; none where all are alike."""
    words = {"events": "{} past events", "popularity": "item chosen {} times"}
    parts = [
        (words[by].format(part.bounds), part)
        for by, each in findings.strata.items()
        if len(each) > 1
        for part in each
    ]
    names = [name for name in findings.bench.reported if name in findings.scores[entrant.label]]
    if not parts or not names:
        return []
    means = [[part.averages.mean(entrant.unit, name) for _, part in parts] for name in names]
    rows = [
        [called(name), *(NONE if isnan(each) else mean({"mean": each}) for each in row)]
        for name, row in zip(names, means, strict=True)
    ]
    head = ["measure", *(words for words, _ in parts)]
    return [Table(head, rows, STRATA, caption="By past events and by the item's popularity")]
