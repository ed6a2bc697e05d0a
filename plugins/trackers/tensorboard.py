"""TensorBoard, through Lightning."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import tensorboard  # type: ignore[import-untyped]  # noqa: F401  # Lightning would fall back on tensorboardX without a word
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from xrec import hookimpl


@dataclass(frozen=True)
class TensorBoard:
    """Log to the run's folder `tensorboard`; look with ``tensorboard --logdir runs``."""

    def logger(self, folder: Path, stage: str) -> Logger:
        """A logger with an empty folder for the stage."""
        shutil.rmtree(folder / "tensorboard" / stage, ignore_errors=True)
        return TensorBoardLogger(folder, name="tensorboard", version=stage)


@hookimpl
def xrec_trackers() -> dict[str, type]:
    """Offer TensorBoard."""
    return {"tensorboard": TensorBoard}
