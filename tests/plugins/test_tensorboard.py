"""What TensorBoard shows of a training that was stopped and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from xrec.plugins import factory


def curve(folder: Path) -> list[tuple[int, float]]:
    found = EventAccumulator(str(folder / "tensorboard" / "train")).Reload()
    return [(point.step, point.value) for point in found.Scalars("loss")]


def log(folder: Path, first: int, last: int, value: float, **given: int) -> None:
    logger = factory("tracker", "tensorboard")().logger(folder, "train", **given)
    for step in range(first, last):
        logger.log_metrics({"loss": value}, step)
    logger.finalize("failed")


def test_a_training_that_starts_again_is_all_that_is_shown(tmp_path: Path) -> None:
    log(tmp_path, 0, 5, 1)
    log(tmp_path, 0, 3, 2)
    assert curve(tmp_path) == [(0, 2), (1, 2), (2, 2)]


def test_one_that_goes_on_is_one_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log(tmp_path, 0, 5, 1)
    later = __import__("time").time() + 60  # files are read in the order of the times they name
    monkeypatch.setattr("time.time", lambda: later)
    log(tmp_path, 3, 6, 2, step=3)
    assert curve(tmp_path) == [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]
