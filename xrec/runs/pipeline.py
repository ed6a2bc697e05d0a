"""Carrying out a recipe: its stages in order, each done once.

A stage has a key: a digest of the part of the recipe that it follows, of what it reads and of the
code's version. It is done again only if its key or its files have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lightning import seed_everything

from xrec import __version__
from xrec.explain.explainer import Choosing, learns
from xrec.files import digest
from xrec.recipe import Recipe
from xrec.runs import compressing, explaining, precision
from xrec.runs import stages as works
from xrec.runs.adapting import trunk
from xrec.runs.beside import beside
from xrec.runs.decoding import decode
from xrec.runs.pretraining import check, pretrain
from xrec.runs.run import AUDIT, SHORTLIST, Run, Tell
from xrec.runs.store import key_of
from xrec.runs.tracing import trace


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
    work = _begun(recipe, out, tell)
    planned = list(stages(work))
    with work.store.alone():
        work.store.begin(recipe.resolved)
        for stage in planned:
            carry_out(work, stage)
    work.manager.hook.xrec_finished(run=work)
    return work


def _begun(recipe: Recipe, out: Path | str, tell: Tell) -> Run:
    """The run of a recipe; what cannot be had, data, weights or bf16, is found out here."""
    work = Run(recipe, Path(out) / recipe.name / recipe.digest()[:10], tell)
    work.manager.hook.xrec_recipe(recipe=recipe)
    work.made["dataset"][0].sources()
    trunk(recipe)
    if work.store.record("train") is None:
        precision.plugin(recipe.train.precision)
    return work


def trained(recipe: Recipe, out: Path | str = "runs", tell: Tell = lambda text: None) -> Run:
    """Carry out a recipe in its folder as `run` does, up to its model and how well this ranks."""
    work = _begun(recipe, out, tell)
    with work.store.alone():
        work.store.begin(recipe.resolved)
        for stage in stages(work):
            carry_out(work, stage)
            if stage.name == "quality":
                break
    return work


def prepare(run: Run) -> None:
    """Carry out the stages that training reads, where they are not done before."""
    for stage in stages(run):
        if stage.name == "train":
            return
        carry_out(run, stage)


def stages(run: Run) -> Iterator[Stage]:
    """The stages of a run, in order: one for each explainer and for each explainer's fidelity.

    Raises XrecError: the encoder's model cannot be had, or not be trained further as is asked for.
    """

    def said(*keys: str) -> tuple[Any, ...]:
        return tuple(run.recipe.resolved.get(key) for key in keys)

    check(run.recipe, run.made["encoder"][0])
    yield Stage("data", works.load, said("data", "hooks", "privacy", "seed"), (), _sources)
    read = run.made["encoder"][0].digest()
    before: tuple[str, ...] = ("data",)
    if run.recipe.pretrain is not None:
        told = (asdict(run.recipe.pretrain), *said("seed"), read)
        yield Stage("pretrain", pretrain, told, before)
        before = ("data", "pretrain")
    yield Stage("encode", works.encode, (read,), before)
    built = said("encoder", "model", "tasks", "adapt")
    fitting = (*built, *said("train", "hooks", "privacy", "track", "seed"))
    yield Stage("train", works.train, fitting, (*before, "encode"), lambda run: trunk(run.recipe))
    fitted: tuple[str, ...] = (*before, "encode", "train")
    for at, step in enumerate(run.recipe.compress):
        told = (step.name, step.options, step.max_quality_drop, *said("seed"))
        name = run.steps[at].replace("/", ".")
        yield Stage(name, partial(compressing.compress, at=at), told, fitted)
        fitted = (*fitted, name)
    yield Stage("quality", works.measure_quality, (), fitted)
    recommending = (run.recipe.protocol.users, SHORTLIST)  # which runs of before had not
    yield Stage("recommend", works.recommend, recommending, fitted)
    yield Stage("layers", decode, (), (*fitted, "recommend"))
    scored = tuple(f"fidelity.{label}" for label in run.explainers())
    recommended = (*fitted, "recommend")
    yield from _explaining(run, recommended, said)
    for label, (choice, _) in run.influences().items():
        told = (choice.name, choice.options, run.recipe.report.explained)
        yield Stage(f"influence.{label}", partial(trace, label=label), told, recommended)
    traced = tuple(f"influence.{label}" for label in run.influences())
    explained = tuple(f"explain.{label}" for label in run.explainers())
    released: tuple[str, ...] = ()
    if run.manager.hook.xrec_explained.get_hookimpls():
        released = ("release",)
        yield Stage("release", works.release, said("hooks", "privacy"), explained)
    shown = asdict(run.recipe.report)
    shown_of = ("quality", "recommend", "layers", *scored, *traced, *released)
    yield Stage("report", works.write_report, (shown,), shown_of, _audited)


def _explaining(
    run: Run, before: tuple[str, ...], said: Callable[..., tuple[Any, ...]]
) -> Iterator[Stage]:
    """Each explainer is readied, explains, and is put to the test; what chooses among them is last.

    All explain before the first is put to the test, which takes longer.
    """
    made = run.explainers()
    choosing = [label for label, (_, each) in made.items() if isinstance(each, Choosing)]
    own = [label for label in made if label not in choosing]
    yield from _explained(run, own, before, said)
    yield from _explained(run, choosing, (*before, *(f"fidelity.{label}" for label in own)), said)


def _explained(
    run: Run, labels: list[str], before: tuple[str, ...], said: Callable[..., tuple[Any, ...]]
) -> Iterator[Stage]:
    explains = {}
    for label in labels:
        choice, explainer = run.explainers()[label]
        told, reads = (choice.name, choice.options), before
        if learns(explainer):
            work = partial(explaining.fit, label=label)
            yield Stage(f"fit.{label}", work, (*told, *said("seed")), before)
            reads = (*before, f"fit.{label}")
        protocol = run.recipe.protocol
        asked = (*told, protocol.target, protocol.max_bytes, *said("hooks", "privacy"))
        work = partial(explaining.explain, label=label)
        yield Stage(f"explain.{label}", work, asked, reads)
        explains[label] = (*reads, f"explain.{label}")
    for label, reads in explains.items():
        work = partial(explaining.score, label=label)
        yield Stage(f"fidelity.{label}", work, said("fidelity", "protocol"), reads)


def _sources(run: Run) -> Sequence[Path]:
    files: Sequence[Path] = run.made["dataset"][0].sources()
    return files


def _audited(run: Run) -> Sequence[Path]:
    """What an audit found, which comes after a run and is told of in its report."""
    path = run.folder / AUDIT
    return [path] if path.is_file() else []


def carry_out(run: Run, stage: Stage) -> None:
    """Do a stage of a run, unless it was done before for the same key and its files are there."""
    reads = {str(path): digest(path) for path in stage.sources(run)}
    for name in stage.after:
        reads |= run.store.writes(name)
    key = key_of(stage.name, stage.follows, sorted(reads.values()), __version__)
    if run.store.finished(stage.name, key):
        run.tell(f"{stage.name}: done before")
        return
    if (other := beside(run.store, stage.name, key)) is not None:
        run.tell(f"{stage.name}: as in {other}")
        return
    run.tell(f"{stage.name} …")
    seed_everything(run.recipe.seed, verbose=False)
    with run.store.stage(stage.name, key, reads):
        stage.work(run)
