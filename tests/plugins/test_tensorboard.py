"""What TensorBoard shows of a training that was stopped and gone on with."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightning import seed_everything

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from xrec import hookimpl
from xrec.plugins import factory, new_manager
from xrec.runs.resume import position
from xrec.runs.training import fit
from xrec.testing import small_data


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a minute go by: files are read in the order of the seconds in their names."""
    now = time.time
    passed = [0]
    monkeypatch.setattr("time.time", lambda: now() + 60 * passed[0])

    def go_by() -> None:
        passed[0] += 1

    return go_by


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder / "tensorboard" / "train")).Reload()
    names = found.Tags()["scalars"]
    return {name: [(point.step, point.value) for point in found.Scalars(name)] for name in names}


def log(folder: Path, first: int, last: int, value: float, **given: int) -> None:
    logger = factory("tracker", "tensorboard")().logger(folder, "train", **given)
    for step in range(first, last):
        logger.log_metrics({"loss": value}, step)
    logger.finalize("failed")


def test_a_training_that_starts_again_is_all_that_is_shown(tmp_path: Path, minutes: Any) -> None:
    log(tmp_path, 0, 5, 1)
    minutes()
    log(tmp_path, 0, 3, 2)
    assert curves(tmp_path) == {"loss": [(0, 2), (1, 2), (2, 2)]}


def test_one_that_goes_on_is_one_curve(tmp_path: Path, minutes: Any) -> None:
    log(tmp_path, 0, 5, 1)
    minutes()
    log(tmp_path, 3, 6, 2, step=3)
    assert curves(tmp_path) == {"loss": [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]}


class Stop:
    """Stops training at its n-th step, from 1; logs every step."""

    def __init__(self, at: int) -> None:
        self.at = at

    @hookimpl
    def xrec_loss(self, module: Any, output: Any) -> None:
        self.at -= 1
        if not self.at:
            raise KeyError("stop")
        module.log("step_loss", output["click"], on_step=True, on_epoch=False)


def train(folder: Path, stop: int) -> None:
    seed_everything(0, verbose=False)
    data = small_data(users=30)
    data.train = replace(data.train, epochs=3, batch=2, checkpoint=4)
    encoder = factory("encoder", "hashed")(size=8)
    texts = encoder.encode(data.texts)
    model = factory("model", "sequential")(width=8).build(data, texts, encoder)
    model.use(new_manager([Stop(stop)]))
    path = folder / "c.safetensors"
    begun = position(path, model, lambda text: None)
    logger = factory("tracker", "tensorboard")().logger(
        folder, "train", begun.steps if begun else 0
    )
    fit(model, data, [logger], folder, path, lambda text: None)


def test_a_stopped_training_has_the_curves_of_one_that_was_not(
    tmp_path: Path, minutes: Any
) -> None:
    train(tmp_path / "whole", 0)
    expected = curves(tmp_path / "whole")
    assert len(expected["val_mrr"]) == len(expected["train_loss"]) == 3
    assert len(expected["step_loss"]) > 3
    for stop in (7, 14, 18, 3):  # of 19 an epoch
        with pytest.raises(KeyError):
            train(tmp_path / "stopped", stop)
        minutes()
    train(tmp_path / "stopped", 0)
    assert curves(tmp_path / "stopped") == expected
