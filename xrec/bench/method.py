"""How a benchmark was made, and what its measures mean."""

from __future__ import annotations

from collections.abc import Sequence

from xrec.bench.files import Bench, Entrant
from xrec.bench.wording import called, counted, mark
from xrec.report.section import Block, Chapter, Table, Terms, Text
from xrec.report.words import WAYS, listed, percent, plain

AWAY = {
    "remove": "they are left out",
    "baseline": "the mean of their group stands in their place",
    "resample": "those of other users stand in their place",
}
PROTOCOL = (
    "A user's figures are averaged over models and draws first, and intervals and tests are over "
    "users, who are what chance has drawn. Times are medians at batch 1, after calls to warm up."
)


def method(bench: Bench) -> Chapter:
    """What was done, what the models are worth, and what it was all made with."""
    about = [(plain(name), _plain(value)) for name, value in bench.about.items()]
    options = [(plain(name), _plain(value)) for name, value in bench.options.items()]
    return Chapter(
        "How it was measured",
        [
            *map(Text, (_who(bench), _chosen(bench), _ledger(bench))),
            *_models(bench),
            Terms(about, "Made with"),
            Terms(options, "Options, as under bench in the recipe"),
        ],
    )


def _who(bench: Bench) -> str:
    """Who was explained, on which models, and how features were taken away."""
    users, models = bench.test["user"].n_unique(), bench.test["model"].n_unique()
    seeds = f"{counted(models, 'model')}{', trained from other seeds' if models > 1 else ''}"
    ways = [f"{each} ({AWAY.get(each, each)})" for each in bench.options["operators"]]
    return (
        f"The first recommendation of each of {counted(users, 'test user')} was explained by "
        f"{counted(len(bench.explainers), 'explainer')}, on {seeds}. What becomes of features that "
        f"a measure takes away: {listed(ways)}. {PROTOCOL}"
    )


def _chosen(bench: Bench) -> str:
    """By what settings were chosen, and that it is not reported."""
    related = [
        called(name)
        for name in bench.reported
        if name.rpartition("@")[0] == bench.select.rpartition("@")[0] != ""
    ]
    told = (
        f"The setting of each explainer was chosen on {bench.options['tuning']} validation users, "
        f"none of whom is among those, by {called(bench.select)}, which is therefore counted "
        "nowhere and shown apart."
    )
    return f"{told} {listed(related)} is a near relative of it." if related else told


def _ledger(bench: Bench) -> str:
    """What was shared between those who judge."""
    told = f"It took {bench.minutes:,.1f} minutes of work, training apart."
    if not bench.asked:
        return told
    return (
        f"{told} Of {bench.asked:,} evaluations that measures asked for, {bench.evaluated:,} "
        f"({percent(bench.evaluated / bench.asked)}) were made: what is known is not asked again."
    )


def _models(bench: Bench) -> list[Block]:
    """How well each model recommends, and how far it uses what was planted."""
    names = list(dict.fromkeys(name for each in bench.quality.values() for name in each))
    if not names:
        return []
    rows = []
    for seed, figures in bench.quality.items():
        share = bench.taken_up.get(seed)
        quality = [f"{figures[name]:.3f}" if name in figures else "–" for name in names]
        rows.append([f"seed {seed}", *quality, "–" if share is None else percent(share)])
    head = ["model", *names, "uses the plant"]
    return [Table(head, rows, caption="The models that were explained")]


def meanings(bench: Bench) -> Chapter:
    """What measures and explainers are, by their own word."""
    measures = [
        (called(name), f"{_sentence(bench, name)} {WAYS[way].capitalize()}.".strip())
        for name, way in bench.better.items()
        if name in bench.judged
    ]
    explainers = [(_named(each), each.says) for each in bench.explainers.values()]
    left = [(plain(label), f"Left out: {why}") for label, why in bench.left_out.items()]
    return Chapter(
        "What the words mean",
        [
            *([Terms(_merged(measures), "Measures")] if measures else []),
            Terms([*explainers, *left], "Explainers"),
        ],
    )


def _merged(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Measures that mean the same, under several removal operators, told of once."""
    found: dict[str, list[str]] = {}
    for name, said in pairs:
        found.setdefault(said, []).append(name)
    return [(listed(names), said) for said, names in found.items()]


def _sentence(bench: Bench, measure: str) -> str:
    base = measure.rpartition("@")[0] or measure
    return bench.meaning.get(measure) or bench.meaning.get(base) or ""


def _named(entrant: Entrant) -> str:
    told = mark(entrant)
    return f"{plain(entrant.label)} ({told})" if told else plain(entrant.label)


def _plain(value: object) -> str:
    """A value as people write it."""
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)
