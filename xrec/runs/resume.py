"""Going on where a killed training was, to the same result as one that nobody killed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from xrec.errors import RunError
from xrec.models.recommender import Recommender
from xrec.runs.checkpoint import read
from xrec.runs.run import Tell


@dataclass(frozen=True)
class Position:
    """Where a training is: `step` steps into `epoch` (from 1), and `steps` steps in all."""

    epoch: int
    step: int
    steps: int


def position(path: Path, model: Recommender, tell: Tell) -> Position | None:
    """Where an earlier try left off; None if it left nothing that can be gone on from."""
    checkpoint = usable(path, model, tell)
    if checkpoint is None:
        return None
    (loader,) = checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    found = Position(checkpoint["epoch"] + 1, loader["served"], checkpoint["global_step"])
    tell(f"  going on from epoch {found.epoch}, step {found.step}")
    return found


def usable(path: Path, model: LightningModule, tell: Tell) -> dict[str, Any] | None:
    """The checkpoint of an earlier try, if there is one.

    One that cannot be used is said aloud and removed, so that training starts again.
    """
    if not path.is_file():
        return None
    try:
        checkpoint = read(path)
        _check_fit(checkpoint["state_dict"], model, path)
    except RunError as error:
        tell(f"  {error}; training starts again")
        path.unlink()
        return None
    return checkpoint


def _check_fit(weights: Mapping[str, Tensor], model: LightningModule, path: Path) -> None:
    """Raise RunError unless the weights are those of such a model."""
    own = model.state_dict()
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in own.items()}:
        raise RunError(f"checkpoint {path} is of another model than the recipe builds now")


class Resume(Callback):
    """Write a checkpoint at each epoch's end and every `every` steps, and go on from one.

    Lightning keeps weights, optimiser, callbacks and loops. This adds what else the result depends
    on: the states of the random generators, and the sums of what is logged as an epoch's mean.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.random: dict[str, Any] = {}  # to be restored when the first hook of training is called
        self.sums: dict[str, dict[str, Tensor]] = {}  # to be added to what the rest of epoch logs

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint between two epochs: all that the one before it logged is logged."""
        resumed = bool(self.random)
        self._restore_random()
        if trainer.current_epoch and not resumed:
            trainer.save_checkpoint(self.path)

    def on_train_batch_start(self, *_: Any) -> None:
        """Restore the random generators, in an epoch that is gone on with."""
        self._restore_random()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint every so many steps of an epoch."""
        self._restore_sums(trainer)
        if (batch_idx + 1) % self.every == 0 and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the random generators and the sums."""
        checkpoint["random"] = random_states()
        checkpoint["sums"] = {
            name: dict(metric.metric_state)
            for name, metric in trainer.fit_loop.epoch_loop._results.items()
            if metric.is_tensor and not metric.has_reset
        }
        # Of an epoch that is about to start Lightning would forget, when it goes on, that it did.
        for count in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
            if count["started"] == count["completed"]:
                count["ready"] = count["completed"]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember what is to be restored once training starts."""
        self.random, self.sums = checkpoint["random"], checkpoint["sums"]

    def _restore_random(self) -> None:
        if self.random:
            restore_random(self.random)
            self.random = {}

    def _restore_sums(self, trainer: Trainer) -> None:
        """Add the sums of the epoch's first part to those of what came after it."""
        results = trainer.fit_loop.epoch_loop._results
        for name in [name for name in self.sums if name in results]:
            metric = results[name]
            for part, before in self.sums.pop(name).items():
                now = getattr(metric, part)
                before = before.to(now.device)
                least_or_most = metric.meta.is_max_reduction or metric.meta.is_min_reduction
                both = metric.meta.reduce_fx(torch.stack([before, now])) if least_or_most else None
                setattr(metric, part, before + now if both is None else both)


def random_states() -> dict[str, Any]:
    """The states of all random generators that training may draw from."""
    generator = np.random.get_state(legacy=False)
    key = torch.from_numpy(generator["state"]["key"].astype(np.int64))
    return {
        "python": random.getstate(),
        "numpy": {**generator, "state": {**generator["state"], "key": key}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random(states: Mapping[str, Any]) -> None:
    """Set all random generators to what `random_states` found."""
    random.setstate(states["python"])
    generator = states["numpy"]
    key = generator["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**generator, "state": {**generator["state"], "key": key}})
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
