"""The weights that a model had on its way through training, and the rates it learned at there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from xrec.errors import RunError
from xrec.files import save_tensors, written


@dataclass(frozen=True)
class Checkpoint:
    """A safetensors file of a model's state after an epoch; its header tells epoch and rates."""

    path: Path

    @classmethod
    def write(
        cls, path: Path, weights: Mapping[str, Tensor], epoch: int, rates: Mapping[str, float]
    ) -> Checkpoint:
        """Keep `weights` after `epoch` (from 1); rates: of each parameter that learned, by name."""
        kept = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        told = {"epoch": str(epoch), "rates": json.dumps(dict(rates))}
        with written(path) as partial:
            save_tensors(kept, partial, told)
        return cls(path)

    def weights(self) -> dict[str, Tensor]:
        """The model's state, on the CPU. Raises RunError if the file is spoilt or gone."""
        try:
            with safe_open(self.path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise self._spoilt(error) from error

    @property
    def epoch(self) -> int:
        """After which epoch, from 1, it was kept."""
        return int(self._header()["epoch"])

    @property
    def rates(self) -> dict[str, float]:
        """The learning rate of each parameter that learned, by name."""
        return {
            str(name): float(rate) for name, rate in json.loads(self._header()["rates"]).items()
        }

    def _header(self) -> dict[str, str]:
        try:
            with safe_open(self.path, framework="pt") as file:
                told: dict[str, str] = file.metadata() or {}
        except (OSError, SafetensorError) as error:
            raise self._spoilt(error) from error
        if not {"epoch", "rates"} <= told.keys():
            raise self._spoilt("its header has no epoch and rates")
        return told

    def _spoilt(self, why: object) -> RunError:
        return RunError(
            f"checkpoint {self.path} cannot be read ({why}): remove it, and run the recipe again"
        )
