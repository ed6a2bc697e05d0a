"""The fidelity benchmark: every explainer, by several budgets, seeds and models, in one protocol.

Settings are chosen on validation users by one measure; test users, others than those, tell the
rest. Whatever takes long is a cell, done once, so that a benchmark goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import polars as pl
import torch

from xrec.bench.cells import Cell, Cells
from xrec.bench.entrants import Entrants
from xrec.bench.gathering import gathered
from xrec.bench.judging import judged
from xrec.bench.plan import Judgement, Setting, measures, planned, selecting
from xrec.bench.report import write_report
from xrec.bench.selection import chosen
from xrec.errors import RecipeError
from xrec.explain.memory import peak_bytes
from xrec.fidelity.metric import Metric, retells
from xrec.fidelity.protocol import latency
from xrec.recipe import Recipe
from xrec.runs import pipeline
from xrec.runs.explaining import asking
from xrec.runs.run import Run, Tell
from xrec.runs.store import Store, key_of
from xrec.runs.subject import Subject

SPLITS = {"validate": "tuning", "test": "users"}  # and the option that says how many users
#: Recipe keys that a benchmark does not follow.
ASIDE = ("tune", "report", "track", "influence")


def bench(recipe: Recipe, out: Path | str = "runs", tell: Tell = lambda text: None) -> Path:
    """Carry out a recipe's benchmark, going on where it was stopped; returns its folder.

    That is `out`/<name>/bench-<digest>/, with rows.parquet, latency.parquet, bench.json and
    report.html. Models are trained as `xrec run` trains them, in folders of their own. Raises
    XrecError.
    """
    if not recipe.explain or not recipe.fidelity:
        raise RecipeError("bench: list explainers under explain and metrics under fidelity")
    selecting(recipe, recipe.check()["fidelity"])
    runs = {s: pipeline.trained(recipe.seeded(s), out, tell) for s in recipe.bench.seeds}
    key = key_of({k: v for k, v in recipe.resolved.items() if k not in ASIDE})
    store = Store(Path(out) / recipe.name / f"bench-{key[:10]}")
    with store.alone():
        Benchmark(recipe, runs, store, tell).carry_out()
    write_report(store.folder)
    return store.folder


class Benchmark:
    """The work of one benchmark, on trained runs by the seed of their model."""

    def __init__(self, recipe: Recipe, runs: Mapping[int, Run], store: Store, tell: Tell) -> None:
        self.recipe, self.options, self.runs = recipe, recipe.bench, runs
        self.store, self.tell, self.cells = store, tell, Cells(store, tell)
        self.metrics: Sequence[Metric] = recipe.check()["fidelity"]
        self.first = next(iter(runs))
        self.users = self._drawn()
        self._subjects: dict[tuple[int, str], Subject] = {}
        features = int(self.subject(self.first, "test").inputs.players.sum(1).max())
        self.entrants = Entrants(planned(recipe, features), runs, store)

    def _drawn(self) -> dict[str, torch.Tensor]:
        """The users of each split, the same for all models, no one in both."""
        count = len(self.runs[self.first].data.users) - 1
        wanted = [getattr(self.options, name) for name in SPLITS.values()]
        if sum(wanted) > count:
            raise RecipeError(
                f"bench.users and bench.tuning ask for {sum(wanted)} users, and the data have "
                f"{count}: lower them"
            )
        generator = torch.Generator().manual_seed(self.recipe.seed)
        order = 1 + torch.randperm(count, generator=generator)
        parts = order[: sum(wanted)].split(wanted)
        return dict(zip(SPLITS, parts, strict=True))

    def subject(self, seed: int, split: str) -> Subject:
        """What a model recommends to the users of a split; kept while that model is at work."""
        if (seed, split) not in self._subjects:
            self._subjects = {k: v for k, v in self._subjects.items() if k[0] == seed}
            self._subjects[seed, split] = self.runs[seed].first_choices(self.users[split], split)
        return self._subjects[seed, split]

    def carry_out(self) -> None:
        """Teach and try the explainers, choose their settings, judge them, and gather it all."""
        entrants, cells = self.entrants, self.cells
        cells.do(entrants.taught())
        cells.do(entrants.tried(self.first, self.subject(self.first, "test")))
        for each in entrants.explained:
            for name, said in entrants.trial(each.label)["unable"].items():
                self.tell(f"left out: {each.label} {name}: {said}")
        choosing = list(self._choosing())
        cells.do([*map(self._judging, choosing), *self._timing()])
        picked = self._picked(choosing)
        testing = list(self._testing(picked))
        cells.do(map(self._judging, testing))
        gathered(self, picked, choosing + testing)

    # What is judged

    def _choosing(self) -> Iterator[Judgement]:
        """Explainers with several settings, on the validation users."""
        for seed in self.runs:
            for each in self.entrants.able():
                if len(each.settings) > 1:
                    yield from (Judgement(seed, "validate", one) for one in each.settings)

    def _testing(self, picked: Mapping[str, str]) -> Iterator[Judgement]:
        """All settings on the test users; those that were picked by several draws, and again.

        A ceiling, which takes longest, is judged once.
        """
        again = any(map(retells, self.metrics))
        for seed in self.runs:
            for each in self.entrants.able():
                for one in each.settings:
                    best = one.name == picked[each.label]
                    draws = self.options.draws if best and _draws(one) else 1
                    yield from (Judgement(seed, "test", one, draw) for draw in range(draws))
                    if again and best and seed == self.first and one.standing != "ceiling":
                        yield Judgement(seed, "test", one, again=True)

    def _judging(self, what: Judgement) -> Cell:
        options, protocol = self.options, asdict(self.recipe.protocol)
        metrics = self._metrics(what)
        drawn = (options.users, options.tuning, options.operators, self.recipe.seed)
        asked = [protocol[key] for key in ("target", "points", "max_bytes")]
        follows = (what, repr(metrics), asked, drawn, self.runs[what.model].store.writes("train"))
        kind = f"{what.split} {what.setting.label} {what.setting.name} {what.again}"
        return Cell(what.name, kind, follows, partial(self._judge, what, metrics))

    def _metrics(self, what: Judgement) -> Sequence[Metric]:
        if what.split == "validate":
            return [selecting(self.recipe, self.metrics)]
        return [metric for metric in self.metrics if retells(metric) == what.again]

    def _judge(self, what: Judgement, metrics: Sequence[Metric]) -> None:
        subject = self.subject(what.model, what.split)
        explainer = self.entrants.ready(what.model, what.setting, what.draw)
        ledger, points = subject.averaging, self.recipe.protocol.points
        asked, evaluated = ledger.asked, ledger.evaluations
        ask = asking(self.runs[what.model])
        rows = judged(subject, explainer, ask, metrics, self.options.operators, points)
        self.store.write_table(f"cells/{what.name}.parquet", rows)
        found = {"asked": ledger.asked - asked, "evaluated": ledger.evaluations - evaluated}
        self.store.write_json(f"cells/{what.name}.json", found)

    def _timing(self) -> Iterator[Cell]:
        """Every setting on the clock, explaining the first model."""
        for setting in (one for each in self.entrants.able() for one in each.settings):
            follows = (
                setting,
                asdict(self.recipe.protocol),
                self.runs[self.first].store.writes("train"),
            )
            work = partial(self._time, setting)
            yield Cell(setting.clock, f"latency {setting.label} {setting.name}", follows, work)

    def _time(self, setting: Setting) -> None:
        subject, protocol = self.subject(self.first, "test"), self.recipe.protocol
        explainer = self.entrants.ready(self.first, setting)
        given = (explainer, subject.model, subject.inputs, subject.target)
        timed = latency(*given, protocol.repeats, protocol.batch)
        one = subject.inputs.rows(slice(0, 1))
        peak = peak_bytes(lambda: explainer.explain(subject.model, one, subject.target))
        learning = self.entrants.fitting(self.first, setting)
        found = {**timed, "peak_bytes": peak, "fit_seconds": learning}
        self.store.write_json(f"cells/{setting.clock}.json", found)

    # What was found

    def rows(self, judgements: Iterable[Judgement]) -> pl.DataFrame:
        """What was found of each user, a column a measure."""
        keys = ("model", "split", "explainer", "setting", "draw", "user")
        parts: dict[bool, list[pl.DataFrame]] = {False: [], True: []}
        for what in judgements:
            about = {
                "model": pl.lit(what.model, pl.Int64),
                "split": pl.lit(what.split),
                "explainer": pl.lit(what.setting.label),
                "setting": pl.lit(what.setting.name),
                "draw": pl.lit(what.draw, pl.Int64),
            }
            found = self.store.table(f"cells/{what.name}.parquet").select(
                *(value.alias(key) for key, value in about.items()), pl.all()
            )
            parts[what.again].append(found)
        rows = pl.concat(parts[False], how="diagonal")
        if not parts[True]:
            return rows
        again = pl.concat(parts[True], how="diagonal").drop("item", "events", "popularity")
        return rows.join(again, on=keys, how="left", maintain_order="left")

    def _picked(self, choosing: Sequence[Judgement]) -> dict[str, str]:
        """The setting of each explainer, by label."""
        select, settings = (
            self.options.select,
            {each.label: [one.name for one in each.settings] for each in self.entrants.able()},
        )
        if not choosing:
            return {label: names[-1] for label, names in settings.items()}
        better = measures(self.metrics, self.options.operators)[select]
        return chosen(self.rows(choosing), select, better, settings)


def _draws(setting: Setting) -> bool:
    """Whether a setting is drawn by several seeds."""
    return setting.standing != "ceiling" and hasattr(setting.make(), "seed")
