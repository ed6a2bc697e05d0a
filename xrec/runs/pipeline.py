"""Carrying out a recipe: its stages in order, each done once.

A stage has a key: a digest of the part of the recipe that it follows, of what it reads and of the
code's version. It is done again only if its key or its files have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning import seed_everything

from xrec import __version__
from xrec.files import digest
from xrec.recipe import Recipe
from xrec.runs import stages as works
from xrec.runs.run import Run, Tell
from xrec.runs.store import key_of


@dataclass(frozen=True)
class Stage:
    """A step of a run. `follows` are recipe keys, `after` the stages whose files it reads."""

    name: str
    work: Callable[[Run], None]
    follows: tuple[Any, ...] = ()
    after: tuple[str, ...] = ()
    sources: Callable[[Run], Sequence[Path]] = field(default=lambda run: ())


def run(recipe: Recipe, out: Path | str = "runs", tell: Tell = lambda text: None) -> Run:
    """Carry out a recipe in `out`/<its name>/<its digest>, going on where an earlier run stopped.

    `tell` is called with each line of progress. Raises XrecError; then nothing half-written is
    left, and no folder if no stage was finished.
    """
    work = Run(recipe, Path(out) / recipe.name / recipe.digest()[:10], tell)
    work.made["dataset"][0].sources()  # what cannot be had is found out before anything is written
    work.made["encoder"][0].digest()
    with work.store.alone():
        work.store.begin(recipe.resolved)
        for stage in stages(work):
            _carry_out(work, stage)
    work.manager.hook.xrec_finished(run=work)
    return work


def stages(run: Run) -> Iterator[Stage]:
    """The stages of a run, in order: one for each explainer and for each explainer's fidelity."""
    recipe, given = run.recipe, run.recipe.resolved
    yield Stage("data", works.load, (given["data"], given.get("hooks"), given.get("privacy")), (), _sources)
    yield Stage("encode", works.encode, (run.made["encoder"][0].digest(),), ("data",))
    chosen = ("model", "train", "hooks", "privacy", "compress", "track", "seed")
    yield Stage("train", works.train, tuple(given.get(key) for key in chosen), ("data", "encode"))
    yield Stage("quality", works.measure_quality, (), ("train",))
    yield Stage("recommend", works.recommend, (recipe.protocol.users,), ("train",))
    for label, (choice, _) in run.explainers().items():
        follows = (choice.name, choice.options, given.get("hooks"), given.get("privacy"))
        yield Stage(f"explain.{label}", _for(label, works.explain), follows, ("recommend",))
    for label in run.explainers():
        judged = (given.get("fidelity"), given.get("protocol"))
        yield Stage(f"fidelity.{label}", _for(label, works.score), judged, (f"explain.{label}",))
    shown = tuple(f"fidelity.{label}" for label in run.explainers())
    yield Stage("report", works.write_report, (given.get("report"),), ("quality", "recommend", *shown))


def _for(label: str, work: Callable[[Run, str], None]) -> Callable[[Run], None]:
    return lambda run: work(run, label)


def _sources(run: Run) -> Sequence[Path]:
    files: Sequence[Path] = run.made["dataset"][0].sources()
    return files


def _carry_out(run: Run, stage: Stage) -> None:
    reads = {str(path): digest(path) for path in stage.sources(run)}
    for name in stage.after:
        reads |= (run.store.record(name) or {})["writes"]
    key = key_of(stage.name, stage.follows, sorted(reads.values()), __version__)
    if run.store.finished(stage.name, key):
        run.tell(f"{stage.name}: done before")
        return
    run.tell(f"{stage.name} …")
    seed_everything(run.recipe.seed, verbose=False)
    with run.store.stage(stage.name, key, reads):
        stage.work(run)
