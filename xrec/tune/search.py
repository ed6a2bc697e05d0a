"""A search: trials of a recipe's space, kept in a journal, that goes on after a kill.

The journal holds one line of JSON for each thing that happened (Optuna's JournalStorage). A trial
that was at work when its process was killed counts for nothing and is done again; and as the
sampler of each trial is seeded by the number of those that count, it draws what it drew then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from xrec import __version__, plugins
from xrec.errors import RecipeError, RunError, XrecError
from xrec.files import written
from xrec.recipe import Recipe
from xrec.runs import pipeline
from xrec.runs.run import Run, Tell
from xrec.runs.store import key_of
from xrec.runs.training import FALLING
from xrec.tune.keys import check
from xrec.tune.space import TuneOptions
from xrec.tune.trial import Watch, judge

try:
    import optuna
except ModuleNotFoundError as error:
    raise plugins.lacking("xrec tune", error) from error

from optuna import distributions, pruners, samplers
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

#: Recipe keys that training does not follow: a search is the same whatever they say.
AFTERWARDS = ("explain", "fidelity", "protocol", "report", "track", "tune")
JOURNAL, BEST, SUMMARY = "trials.jsonl", "best.yaml", "search.json"
ENOUGH = 10  # completed trials, below which importances would be noise


@dataclass(frozen=True)
class Outcome:
    """A trial that counts: how it ended, its metric if it was completed, else what is said."""

    state: str  # "complete", "pruned" or "failed"
    value: float | None
    values: Mapping[str, Any]
    said: str


@dataclass(frozen=True)
class Found:
    """What a search has found: all trials, which of them is best, and what mattered."""

    folder: Path
    metric: str
    outcomes: Sequence[Outcome]
    best: int
    importances: Mapping[str, float]


def tune(
    recipe: Recipe,
    out: Path | str = "runs",
    trials: int | None = None,
    tell: Tell = lambda text: None,
) -> Found:
    """Search until `trials` trials, else the recipe's number, count; earlier ones are kept.

    Works in `out`/<name>/tune-<digest>/ and leaves there best.yaml, a recipe with the best trial's
    options. Raises XrecError; among others RunError where another process is at work on the search,
    its data have changed since it began, or no trial was completed.
    """
    options = check(recipe)
    bare = Recipe.of({k: v for k, v in recipe.resolved.items() if k not in AFTERWARDS})
    sought = {**asdict(options), "trials": None}
    key = key_of(bare.resolved, sought, __version__)
    work = Run(bare, Path(out) / recipe.name / f"tune-{key[:10]}", tell)
    work.made["dataset"][0].sources()
    with work.store.alone():
        work.store.begin(bare.resolved)
        pipeline.prepare(work)
        search = Search(work, options)
        search.go_on(trials or options.trials)
        return search.conclude(recipe)


class Search:
    """The study of one search; only one process at a time may have it."""

    def __init__(self, work: Run, options: TuneOptions) -> None:
        self.work, self.options = work, options
        self.space = {key: _distribution(each) for key, each in options.space.items()}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(_mended(work.folder / JOURNAL)))),
            study_name=work.recipe.name,
            direction="minimize" if options.metric.endswith(FALLING) else "maximize",
            pruner=_pruner(options),
            load_if_exists=True,
        )
        self._same_data()
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _same_data(self) -> None:
        """Raise RunError if the trials so far were judged on other data."""
        data = key_of(sorted(self.work.store.writes("data").values()))
        known = self.study.user_attrs.get("data")
        if known is None:
            self.study.set_user_attr("data", data)
        elif known != data:
            raise RunError(
                f"the data have changed since the search {self.work.folder} began: remove the "
                "folder to search anew"
            )

    def counted(self) -> list[FrozenTrial]:
        """The trials that ended by themselves; one that was killed has failed and says nothing."""
        ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        trials = self.study.get_trials(deepcopy=False, states=ended)
        return [t for t in trials if t.state != TrialState.FAIL or "said" in t.user_attrs]

    def go_on(self, count: int) -> None:
        """Make trials until `count` count."""
        for at in range(len(self.counted()), count):
            seed = int(key_of(self.work.recipe.seed, at)[:8], 16)
            self.study.sampler = _sampler(self.options, seed)
            trial = self.study.ask(self.space)
            chosen = "  ".join(f"{key} {shown(value)}" for key, value in trial.params.items())
            self.work.tell(f"trial {at + 1}/{count}  {chosen}")
            self.work.tell(f"  {self._make(trial)}")

    def _make(self, trial: Trial) -> str:
        """Carry out a trial and note how it ended; returns what to tell of it."""
        watch = Watch(trial, self.options.metric)
        try:
            try:
                recipe = self.work.recipe.changed({**trial.params, "train.checkpoint": 0})
                run = Run(recipe, self.work.folder, self._tell_epochs)
            except RecipeError as error:  # options that do not go together
                return self._fail(trial, str(error))
            value = judge(run, watch, self.work.folder / "trials" / str(trial.number))
        except RecipeError:
            raise  # the recipe is wrong for every trial
        except torch.OutOfMemoryError:
            return self._fail(trial, "memory ran out")
        except XrecError as error:
            return self._fail(trial, str(error))
        if value is None:
            trial.set_user_attr("said", f"pruned after epoch {watch.pruned_after}")
            self.study.tell(trial, state=TrialState.PRUNED)
            return f"pruned after epoch {watch.pruned_after}"
        self.study.tell(trial, value)
        return f"{self.options.metric} {value:.4f}"

    def _tell_epochs(self, text: str) -> None:
        if text.startswith("  "):  # else it is of a stage, done before
            self.work.tell(text)

    def _fail(self, trial: Trial, said: str) -> str:
        trial.set_user_attr("said", said)
        self.study.tell(trial, state=TrialState.FAIL)
        return f"failed: {said}"

    def conclude(self, recipe: Recipe) -> Found:
        """Write the best trial's recipe and a summary. Raises RunError if none was completed."""
        trials, folder = self.counted(), self.work.folder
        complete = [t for t in trials if t.state == TrialState.COMPLETE]
        if not complete:
            said = trials[-1].user_attrs["said"]
            raise RunError(
                f"none of the {len(trials)} trials of {folder} was completed, so none is best; "
                f"the last: {said}"
            )
        best = self.study.best_trial
        number = next(at for at, t in enumerate(trials) if t.number == best.number)
        given = {k: v for k, v in recipe.changed(best.params).resolved.items() if k != "tune"}
        with written(folder / BEST) as partial:
            head = f"# The best of {len(trials)} trials: {self.options.metric} {best.value:.4f}\n"
            text = head + OmegaConf.to_yaml(OmegaConf.create(given))
            partial.write_text(text, encoding="utf-8")
        outcomes = [_outcome(trial) for trial in trials]
        found = Found(folder, self.options.metric, outcomes, number, self._importances(complete))
        told = {k: v for k, v in asdict(found).items() if k != "folder"}
        self.work.store.write_json(SUMMARY, told)
        return found

    def _importances(self, complete: Sequence[FrozenTrial]) -> dict[str, float]:
        """Each key's share in how the metric varied (PED-ANOVA; Watanabe et al., 2023)."""
        if len(complete) < ENOUGH or len(self.space) < 2:
            return {}
        return optuna.importance.get_param_importances(self.study)


def shown(value: Any) -> str:
    """A value as a person writes it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _outcome(trial: FrozenTrial) -> Outcome:
    state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    value = trial.value if trial.state == TrialState.COMPLETE else None
    told = trial.user_attrs.get("said", "")
    return Outcome(state.get(trial.state, "failed"), value, trial.params, told)


def _distribution(sought: Any) -> distributions.BaseDistribution:
    if sought.choices:
        return distributions.CategoricalDistribution(sought.choices)
    kind = distributions.IntDistribution if sought.whole else distributions.FloatDistribution
    return kind(sought.low, sought.high, log=sought.log)


def _sampler(options: TuneOptions, seed: int) -> samplers.BaseSampler:
    if options.sampler == "random":
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(seed=seed, n_startup_trials=options.startup)


def _pruner(options: TuneOptions) -> pruners.BasePruner:
    if options.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=options.startup)
    return pruners.NopPruner()


def _mended(journal: Path) -> Path:
    """The journal without what a killed process left: half a line at its end, and its lock."""
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    if journal.is_file():
        text = journal.read_bytes()
        if not text.endswith(b"\n"):
            os.truncate(journal, text.rfind(b"\n") + 1)
    return journal
