"""The contract of a tracker: where training is logged."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lightning.pytorch.loggers import Logger


class Tracker(Protocol):
    """A tracker plugin; its fields are its options in the recipe's `track:`."""

    def logger(self, folder: Path, stage: str, step: int = 0) -> Logger:
        """A Lightning logger for a stage, "train" or "test", that starts at `step`.

        It writes under `folder`, which is the run's own. Of what an unfinished try of the stage
        logged, what it logged before `step` is to stay, and the rest is to go.
        """
