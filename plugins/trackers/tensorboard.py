"""TensorBoard, through Lightning."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorboard  # type: ignore[import-untyped]  # noqa: F401  # Lightning would fall back on tensorboardX without a word
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from xrec import hookimpl


@dataclass(frozen=True)
class TensorBoard:
    """Log to the run's folder `tensorboard`; look with ``tensorboard --logdir runs``."""

    def logger(self, folder: Path, stage: str, step: int = 0) -> Logger:
        """A logger with a folder for the stage, empty or with what was logged before `step`."""
        if not step:
            shutil.rmtree(folder / "tensorboard" / stage, ignore_errors=True)
        # TensorBoard hides what an earlier file has from this step on.
        after: dict[str, Any] = {"purge_step": step} if step else {}
        return TensorBoardLogger(folder, name="tensorboard", version=stage, **after)


@hookimpl
def xrec_trackers() -> dict[str, type]:
    """Offer TensorBoard."""
    return {"tensorboard": TensorBoard}
