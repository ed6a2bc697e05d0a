"""A loss that is not a number stops training before it reaches the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from xrec.data.batches import Batch
from xrec.errors import TrainingError
from xrec.files import save_tensors, written
from xrec.models.recommender import Recommender

if TYPE_CHECKING:
    from xrec.runs.training import BestWeights

GOOD = "last_good_weights.safetensors"
NAMED = 3  # users whose ids are told


@dataclass(frozen=True)
class Step:
    """A training step: epoch and batch, from 1, and the batch's users (B,)."""

    epoch: int
    batch: int
    users: Tensor


class Finite(Callback):
    """Stop training, and keep the last good weights, at a loss or a weight that is not a number.

    Each loss is looked at before the weights are changed by it. A GPU's is copied while it works
    on, and looked at when the backward pass is under way, so that it never waits for the CPU. A
    gradient that is not a number though its loss is shows in the weights, which are looked at
    before a checkpoint and before validation, and where a loss fails: then the step before is to
    blame.
    """

    def __init__(self, best: BestWeights, folder: Path) -> None:
        self.best, self.folder = best, folder
        self.before: Step | None = None
        self.step: Step | None = None
        self.copy: tuple[Tensor, torch.cuda.Event] | None = None  # of a GPU's loss, and its end

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Remember which step it is."""
        self.before = self.step
        self.step = Step(trainer.current_epoch + 1, batch_idx + 1, batch.user)

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        """Look at the loss, or order a copy of it."""
        if not loss.is_cuda:
            self._check(loss, pl_module)
            return
        if self.copy is None:
            self.copy = torch.empty((), pin_memory=True), torch.cuda.Event()
        copy, end = self.copy
        copy.copy_(loss.detach(), non_blocking=True)
        end.record()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        """Look at the copy of a GPU's loss."""
        if self.copy is not None:
            copy, end = self.copy
            end.synchronize()
            self._check(copy, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: Any) -> None:
        """Look at the weights: no checkpoint is of weights that are spoilt."""
        if not finite(pl_module):
            self._stop(pl_module, self.step, "gradient", "not finite")

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at the weights: no epoch is the best by weights that are spoilt."""
        if not finite(pl_module):
            self._stop(pl_module, self.step, "gradient", "not finite")

    def _check(self, loss: Tensor, module: Recommender) -> None:
        if torch.isfinite(loss):
            return
        if finite(module):
            self._stop(module, self.step, "loss", str(float(loss.detach())))
        self._stop(module, self.before, "gradient", "not finite")

    def _stop(self, module: Recommender, step: Step | None, what: str, value: str) -> NoReturn:
        """Keep the last good weights and say all that is known."""
        path, whose = self.folder / GOOD, self._keep(module)
        of, users = "", _named(module, step)
        if step is not None:
            of = f" of epoch {step.epoch}, batch {step.batch}" + (f" ({users})" if users else "")
        options = module.options
        raise TrainingError(
            f"training stopped: the {what}{of} is {value}; the last good weights, {whose}, are in "
            f"{path}; try a lower train.lr than {options.lr:g} or train.clip than "
            f"{options.clip:g}"
            + (", or look for what is odd in the data of these users" if users else "")
        )

    def _keep(self, module: Recommender) -> str:
        """Write the best weights so far, or else the latest that are good; says which they are."""
        whose, weights = "those it began with", self.best.weights
        if self.best.epoch:
            whose = f"those of epoch {self.best.epoch}"
        elif finite(module):
            whose, weights = "those before that batch", module.state_dict()
        with written(self.folder / GOOD) as partial:
            save_tensors({k: t.detach().cpu().clone() for k, t in weights.items()}, partial)
        return whose


def _named(module: Recommender, step: Step | None) -> str:
    """The first users of a step; nobody where a plugin takes the steps: it may hide who was in."""
    if step is None or module.hook.xrec_step.get_hookimpls():
        return ""
    ids = module.data_module.users.ids
    users = ", ".join(f"'{ids[user]}'" for user in step.users[:NAMED].tolist())
    more = f" and {len(step.users) - NAMED} more" if len(step.users) > NAMED else ""
    return f"users {users}{more}"


def finite(module: LightningModule) -> bool:
    """Whether all the weights that learn are numbers."""
    learning = [p for p in module.parameters() if p.requires_grad]
    return bool(torch.stack([torch.isfinite(p).all() for p in learning]).all())
