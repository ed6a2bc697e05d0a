"""A trial: one choice of options, trained as a run would, and judged on the validation users."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

from lightning import Callback, LightningModule, Trainer, seed_everything

from xrec.errors import RecipeError, RunError, nearest
from xrec.runs import pipeline
from xrec.runs.run import Run
from xrec.runs.stages import beginning
from xrec.runs.training import fit, new_trainer


class Reported(Protocol):
    """What hears of a trial's epochs: an Optuna trial."""

    def report(self, value: float, step: int) -> None:
        """Note the metric after an epoch."""

    def should_prune(self) -> bool:
        """Whether the trial does so badly, beside those before it, that it is to stop."""


class Watch(Callback):
    """Report each epoch's metric, and stop a trial that is to be pruned.

    A trial that has reached its last epoch is not pruned: all of it is known.
    """

    def __init__(self, trial: Reported, metric: str) -> None:
        self.trial, self.metric = trial, metric
        self.pruned_after: int | None = None  # epochs

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hear the metric of an epoch."""
        figures = trainer.callback_metrics
        if self.metric not in figures:
            measured = [name for name in figures if name.startswith("val_")]
            raise RecipeError(
                f"tune.metric: nothing called '{self.metric}' is measured; "
                + nearest(self.metric, measured)
            )
        self.trial.report(float(figures[self.metric]), trainer.current_epoch)
        done = trainer.current_epoch + 1
        if done < (trainer.max_epochs or 0) and self.trial.should_prune():
            self.pruned_after = done
            trainer.should_stop = True


def judge(run: Run, watch: Watch, folder: Path) -> float | None:
    """The metric of the weights that training keeps, or None if the trial was pruned.

    The data and the encoded texts are made in the run's folder where they are not there; `folder`
    is for what a training that fails leaves. Nothing is tested. Raises RunError if the metric is no
    number, RecipeError if there is no such metric, and what training raises.
    """
    pipeline.prepare(run)
    seed_everything(run.recipe.seed, verbose=False)
    model = beginning(run)
    fit(model, run.data, [], folder, folder / "checkpoint", run.tell, [watch])
    if watch.pruned_after is not None:
        return None
    (figures,) = new_trainer([], folder).validate(model, datamodule=run.data, verbose=False)
    value = figures[watch.metric]
    if not math.isfinite(value):
        raise RunError(f"{watch.metric} is {value}: the training went astray")
    return value
