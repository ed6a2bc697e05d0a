"""Keeping some of the weights that training goes through, for what looks back on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from xrec.errors import RunError
from xrec.influence.checkpoint import Checkpoint
from xrec.models.rates import by_name
from xrec.runs.training import BestWeights

FOLDER = "checkpoints"


class Kept(Callback):
    """Keep the weights after every `stride`-th epoch in `folder`, at most `most` of them.

    The stride starts at 1 and doubles when there would be too many, so that those kept are spread
    evenly over a training of any length, and between half of `most` and `most` of them. What came
    after the best epoch is dropped in the end: the model that is left has not been there.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self.stride = 1
        self.epochs: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"stride": self.stride, "epochs": list(self.epochs)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        vars(self).update(state_dict)

    def path(self, epoch: int) -> Path:
        """Where the weights after an epoch, from 1, are."""
        return self.folder / f"epoch-{epoch}.safetensors"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Clear what a try before this left that is not of this training.

        Raises RunError: training goes on, and what it kept is gone.
        """
        for epoch in self.epochs:
            if not self.path(epoch).is_file():
                raise RunError(
                    f"{self.path(epoch)}, which training kept before it was stopped, is gone: "
                    "remove the run's folder, and start again"
                )
        own = {self.path(epoch) for epoch in self.epochs}
        for path in self.folder.glob("*.safetensors"):
            if path not in own:
                path.unlink()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights, where it is their turn, and thin out what there is."""
        epoch = trainer.current_epoch + 1
        if epoch % self.stride:
            return
        groups = [group for each in trainer.optimizers for group in each.param_groups]
        rates = by_name(pl_module.named_parameters(), groups)
        Checkpoint.write(self.path(epoch), pl_module.state_dict(), epoch, rates)
        self.epochs.append(epoch)
        while len(self.epochs) > self.most:
            self.stride *= 2
            self._keep_only([epoch for epoch in self.epochs if epoch % self.stride == 0])

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop what came after the best epoch."""
        (best,) = (each for each in trainer.callbacks if isinstance(each, BestWeights))  # type: ignore[attr-defined]
        self._keep_only([epoch for epoch in self.epochs if epoch <= best.epoch])

    def _keep_only(self, epochs: list[int]) -> None:
        for epoch in set(self.epochs) - set(epochs):
            self.path(epoch).unlink(missing_ok=True)
        self.epochs = epochs


def clear(folder: Path) -> None:
    """Remove all that an earlier try kept."""
    shutil.rmtree(folder, ignore_errors=True)
