"""TensorBoard, through Lightning."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import tensorboard  # noqa: F401  # Lightning would fall back on tensorboardX without a word
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from xrec import hookimpl


@dataclass(frozen=True)
class TensorBoard:
    """Log to the run's folder `tensorboard`; look with ``tensorboard --logdir runs``."""

    def logger(self, folder: Path) -> Logger:
        """A logger with an empty folder: what an unfinished training left is removed."""
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        return TensorBoardLogger(folder, name="tensorboard", version="")


@hookimpl
def xrec_trackers() -> dict[str, type]:
    """Offer TensorBoard."""
    return {"tensorboard": TensorBoard}
