"""Training that is stopped anywhere goes on to what it would have been."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import seed_everything
from torch import Tensor

from xrec import hookimpl
from xrec.models.recommender import Recommender
from xrec.plugins import factory, new_manager
from xrec.runs.resume import position, random_states, restore_random
from xrec.runs.training import fit
from xrec.testing import small_data


class Stopped(Exception):
    """What stands for a kill."""


class Stop:
    """Stops training at its n-th step, before the weights change; from 1, 0 for never."""

    def __init__(self, at: int) -> None:
        self.at, self.steps = at, 0

    @hookimpl
    def xrec_loss(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise Stopped


class Noise:
    """A term of a plugin's own, which draws from the global generator."""

    @hookimpl
    def xrec_loss(self, module: Recommender) -> Mapping[str, Tensor]:
        return {"noise": 1e-3 * torch.rand(()) * sum(p.square().sum() for p in module.parameters())}


def trained(
    folder: Path, *extra: object, stop: int = 0, said: list[str] | None = None, **train: Any
) -> tuple[Recommender, list[dict[str, Any]]]:
    """A model after training in `folder`, as the train stage does it, and each epoch's figures."""
    seed_everything(3, verbose=False)
    tell = (said if said is not None else []).append
    data = small_data(users=30)
    defaults = {"epochs": 3, "batch": 4, "lr": 0.01, "checkpoint": 2, "patience": 9}
    data.train = replace(data.train, **{**defaults, **train})
    encoder = factory("encoder", "hashed")(size=8)
    model = factory("model", "sequential")(width=8, dropout=0.3).build(
        data, encoder.encode(data.texts), encoder
    )
    model.use(new_manager([Stop(stop), *extra]))
    checkpoint = folder / "checkpoint.safetensors"
    position(checkpoint, model, tell)
    return model, fit(model, data, [], folder, checkpoint, tell)


STEPS = 10  # of an epoch: 37 windows in batches of 4


def assert_same(one: tuple[Recommender, Any], other: tuple[Recommender, Any]) -> None:
    weights, expected = one[0].state_dict(), other[0].state_dict()
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name
    assert json.dumps(one[1]) == json.dumps(other[1])


@pytest.mark.parametrize("extra", [(), (Noise(),)], ids=["alone", "plugin"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_stopped_training_ends_as_one_that_was_not(
    tmp_path: Path, optimizer: str, extra: tuple[object, ...]
) -> None:
    whole = trained(tmp_path / "whole", *extra, optimizer=optimizer)
    assert len(whole[1]) == 3
    told = {
        3: "going on from epoch 1, step 2",
        STEPS + 1: "going on from epoch 2, step 0",
        2 * STEPS - 2: "going on from epoch 2, step 6",
        3 * STEPS: "going on from epoch 3, step 8",
    }
    for stop, line in told.items():
        folder, said = tmp_path / str(stop), []
        with pytest.raises(Stopped):
            trained(folder, *extra, stop=stop, optimizer=optimizer)
        found = trained(folder, *extra, optimizer=optimizer, said=said)
        assert said[0].strip() == line
        assert_same(found, whole)


def test_a_training_stopped_again_and_again(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    for _ in range(8):
        with pytest.raises(Stopped):
            trained(tmp_path / "often", stop=4)
    assert_same(trained(tmp_path / "often"), whole)


def test_patience_is_remembered(tmp_path: Path) -> None:
    """A learning rate too small to change anything stops after the first epoch and `patience`."""
    options = {"epochs": 9, "lr": 1e-30, "patience": 2}
    whole = trained(tmp_path / "whole", **options)
    assert len(whole[1]) == 3
    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", stop=2 * STEPS + 2, **options)
    assert_same(trained(tmp_path / "stopped", **options), whole)


def test_without_checkpoints_training_starts_again(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        trained(tmp_path, stop=STEPS + 3, checkpoint=0)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("harm", ["cut", "another model"])
def test_a_checkpoint_of_no_use_is_said_aloud(tmp_path: Path, harm: str) -> None:
    whole, folder, said = trained(tmp_path / "whole"), tmp_path / "harmed", []
    with pytest.raises(Stopped):
        trained(folder, stop=STEPS + 3)
    (path,) = folder.glob("*.safetensors")
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        from xrec.runs.checkpoint import read, write

        found = read(path)
        found["state_dict"].pop("query")
        write(found, path)
    assert_same(trained(folder, said=said), whole)
    assert said[0].startswith(f"  checkpoint {path} ")
    assert said[0].endswith("; training starts again")
    assert sum("epoch" in line for line in said) == 3


class Fits:
    """Trains in its own way: not at all."""

    @hookimpl
    def xrec_fit(self) -> bool:
        return True


def test_a_plugin_that_trains_has_no_checkpoints_of_ours(tmp_path: Path) -> None:
    model, history = trained(tmp_path, Fits(), checkpoint=1)
    assert history == []
    assert not list(tmp_path.glob("*.safetensors"))


def test_random_generators_go_on_where_they_were(tmp_path: Path) -> None:
    import random

    import numpy as np

    from xrec.runs.checkpoint import read, write

    def draw() -> list[float]:
        return [random.gauss(0, 1), float(np.random.randn()), float(torch.randn(()))]

    draw()
    write(random_states(), tmp_path / "c")
    expected = [draw() for _ in range(3)]
    restore_random(read(tmp_path / "c"))
    assert [draw() for _ in range(3)] == expected
