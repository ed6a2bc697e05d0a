"""Fitting a model through Lightning, and keeping its best weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger
from torch import Tensor

from xrec.data.module import Data
from xrec.errors import RecipeError, TrainingError, nearest
from xrec.models.recommender import Recommender
from xrec.runs import precision
from xrec.runs.checkpoint import Checkpoints
from xrec.runs.finite import GOOD, Finite
from xrec.runs.resume import Resume
from xrec.runs.run import Tell

#: Metrics that get better as they fall; every other does as it rises.
FALLING = ("loss", "bce", "mse", "mae")

TRAINING = "train_loss"  # where it is monitored, what fits best is kept, also by heart


class BestWeights(Callback):
    """Keep the weights of the epoch with the best monitored metric, and each epoch's figures."""

    def __init__(self, monitor: str, tell: Tell) -> None:
        self.monitor, self.tell = monitor, tell
        self.sign = -1 if monitor.endswith(FALLING) else 1
        self.best = -float("inf")
        self.epoch = 0  # that is best, from 1
        self.weights: dict[str, Tensor] = {}  # of that epoch; before the first, of the beginning
        self.history: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        names = ("best", "epoch", "weights", "history")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        vars(self).update(state_dict)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights that training begins with, unless it goes on."""
        if not self.weights:
            self.weights = _copied(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare this epoch's metric with the best so far, but for the loss, known later."""
        if self.monitor == TRAINING:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self.monitor not in figures:
            raise RecipeError(
                f"train.monitor: nothing called '{self.monitor}' is measured; "
                + nearest(self.monitor, figures)
            )
        self._compare(figures, trainer, pl_module)

    def _compare(
        self, figures: dict[str, float], trainer: Trainer, module: LightningModule
    ) -> None:
        if self.sign * figures[self.monitor] > self.best:
            self.best = self.sign * figures[self.monitor]
            self.epoch, self.weights = trainer.current_epoch + 1, _copied(module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell how the epoch went. It comes after validation, when the loss is known too."""
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self.monitor == TRAINING:
            self._compare(figures, trainer, pl_module)
        self.history.append({"epoch": trainer.current_epoch + 1, **figures})
        shown = "  ".join(
            f"{name} {figures[name]:.4f}"
            for name in dict.fromkeys((TRAINING, self.monitor))
            if name in figures
        )
        self.tell(f"  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {shown}")


def _copied(module: LightningModule) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def fit(
    model: Recommender,
    data: Data,
    loggers: Sequence[Logger],
    folder: Path,
    checkpoint: Path,
    tell: Tell,
    watching: Sequence[Callback] = (),
) -> list[dict[str, Any]]:
    """Train `model` in place and leave it with its best weights; returns each epoch's figures.

    Where it is, it writes to the file `checkpoint`, and goes on from there if there is one.
    `watching` hear of the training too. A plugin may train it instead, through `xrec_fit`; then
    there are no checkpoints, and the weights and figures are as the plugin left them. A model of
    which nothing learns is left as it is, without figures.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        tell("  nothing of the model learns: its weights stay as they are")
        return []
    options = data.train
    best = BestWeights(options.monitor, tell)
    mode = "min" if best.sign < 0 else "max"
    stop = EarlyStopping(options.monitor, mode=mode, patience=options.patience)
    trainer = new_trainer(
        loggers,
        folder,
        max_epochs=options.epochs,
        gradient_clip_val=options.clip,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[best, stop, Finite(best, folder), *watching],
        plugins=[precision.plugin(options.precision)],
    )
    (folder / GOOD).unlink(missing_ok=True)
    if trained := model.hook.xrec_fit(trainer=trainer, module=model, data=data):
        return [] if trained is True else trained
    if options.checkpoint:
        resume = Resume(checkpoint, options.checkpoint)
        trainer.callbacks.append(resume)  # type: ignore[attr-defined]
    before = checkpoint if checkpoint.is_file() else None
    fit_or_stop(trainer, model, datamodule=data, ckpt_path=before)
    if not best.epoch:
        raise TrainingError(
            f"training was of no use: in no epoch {options.monitor} was a number; set "
            "train.monitor to another metric, or look at the validation data"
        )
    model.load_state_dict(best.weights)
    return best.history


def fit_or_stop(trainer: Trainer, module: LightningModule, **given: Any) -> None:
    """`trainer.fit`, in which Ctrl-C is what it is anywhere else."""
    try:
        trainer.fit(module, **given)
    except SystemExit as stopped:  # what Lightning makes of it
        raise KeyboardInterrupt from stopped


def new_trainer(
    loggers: Sequence[Logger], folder: Path, plugins: Sequence[Any] = (), **options: Any
) -> Trainer:
    """A Lightning trainer that is quiet, keeps no pickles, and repeats itself under a seed."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # frozen
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
    return Trainer(
        logger=list(loggers) or False,
        default_root_dir=folder,
        enable_checkpointing=False,
        plugins=[Checkpoints(), *plugins],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
        deterministic="warn",
        **options,
    )
