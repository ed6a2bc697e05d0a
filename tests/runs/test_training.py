"""Training: stopped anywhere, it goes on to what it would have been; spoilt, it stops."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import seed_everything
from safetensors.torch import load_file
from torch import Tensor

from xrec import hookimpl
from xrec.errors import RecipeError, TrainingError
from xrec.models.recommender import Recommender
from xrec.plugins import factory, new_manager
from xrec.runs import precision
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


STEPS = 15  # of an epoch: windows in batches of 4


def assert_same(one: tuple[Recommender, Any], other: tuple[Recommender, Any]) -> None:
    weights, expected = one[0].state_dict(), other[0].state_dict()
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name
    assert json.dumps(one[1]) == json.dumps(other[1])


@pytest.mark.parametrize("extra", [(), (Noise(),)], ids=["alone", "plugin"])
@pytest.mark.parametrize(
    ("optimizer", "rates"), [("adamw", {"views.identity": 0.002}), ("sgd", {})]
)
def test_a_stopped_training_ends_as_one_that_was_not(
    tmp_path: Path, optimizer: str, rates: dict[str, float], extra: tuple[object, ...]
) -> None:
    options = {"optimizer": optimizer, "rates": rates}
    whole = trained(tmp_path / "whole", *extra, **options)
    assert len(whole[1]) == 3
    told = {
        3: "going on from epoch 1, step 2",
        STEPS + 1: "going on from epoch 2, step 0",
        2 * STEPS - 2: "going on from epoch 2, step 12",
        3 * STEPS: "going on from epoch 3, step 14",
    }
    for stop, line in told.items():
        folder, said = tmp_path / str(stop), []
        with pytest.raises(Stopped):
            trained(folder, *extra, stop=stop, **options)
        found = trained(folder, *extra, said=said, **options)
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
    history = trained(tmp_path, Fits(), checkpoint=1)[1]
    assert history == []
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_plugin_that_trains_may_give_figures_of_its_epochs(tmp_path: Path) -> None:
    class Tells:
        @hookimpl
        def xrec_fit(self) -> list[dict[str, Any]]:
            return [{"epoch": 1, "val_mrr": 0.5}]

    assert trained(tmp_path, Tells())[1] == [{"epoch": 1, "val_mrr": 0.5}]


def test_a_model_of_which_nothing_learns_is_left_as_it_is(tmp_path: Path) -> None:
    data, said = small_data(), []
    encoder = factory("encoder", "hashed")(size=8)
    model = factory("model", "sequential")(width=8).build(data, encoder.encode(data.texts), encoder)
    model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    checkpoint = tmp_path / "checkpoint.safetensors"
    assert fit(model, data, [], tmp_path, checkpoint, said.append) == []
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert said == ["  nothing of the model learns: its weights stay as they are"]
    assert not list(tmp_path.iterdir())


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


# A loss that is not a number


class Spoils:
    """Adds a term at its n-th step, from 1, and keeps the weights that the step began with."""

    def __init__(self, at: int, term: str) -> None:
        self.at, self.term, self.steps = at, term, 0
        self.weights: dict[str, Tensor] = {}

    @hookimpl
    def xrec_loss(self, module: Recommender) -> Mapping[str, Tensor]:
        self.steps += 1
        if self.steps != self.at:
            return {}
        self.weights = {k: v.clone() for k, v in module.state_dict().items()}
        some = module.get_parameter("query").sum()
        terms = {"nan": some * math.nan, "inf": some * 0 + math.inf, "gradient": (some * 0).sqrt()}
        return {"mine": terms[self.term]}


def assert_weights(path: Path, expected: Mapping[str, Tensor]) -> None:
    found = load_file(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def spoilt(folder: Path, spoils: Spoils, **train: Any) -> str:
    """What training says when it is spoilt, without what to try."""
    with pytest.raises(TrainingError) as raised:
        trained(folder, spoils, **train)
    said, advice = str(raised.value).rsplit("; ", 1)
    assert advice == (
        "try a lower train.lr than 0.01 or train.clip than 1, or look for what is odd in the data "
        "of these users"
    )
    assert not list(folder.rglob("*.partial"))
    return said


def users_of(folder: Path, epoch: int, batch: int) -> str:
    """The users of a batch, as they are told."""
    data = small_data(users=30)
    data.trainer = SimpleNamespace(current_epoch=epoch - 1)
    ids = [data.users.ids[user] for user in list(data.train_dataloader())[batch - 1].user.tolist()]
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return "users " + ", ".join(f"'{name}'" for name in ids[:3]) + more


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_no_number_stops_before_the_weights_change(
    tmp_path: Path, value: str
) -> None:
    spoils, good = Spoils(4, value), tmp_path / "last_good_weights.safetensors"
    assert spoilt(tmp_path, spoils, checkpoint=0) == (
        f"training stopped: the loss of epoch 1, batch 4 ({users_of(tmp_path, 1, 4)}) is {value}; "
        f"the last good weights, those before that batch, are in {good}"
    )
    assert_weights(good, spoils.weights)
    assert [path.name for path in tmp_path.iterdir()] == [good.name]


def test_the_best_weights_are_kept_where_an_epoch_was_finished(tmp_path: Path) -> None:
    good = tmp_path / "last_good_weights.safetensors"
    assert spoilt(tmp_path, Spoils(2 * STEPS, "nan")) == (
        f"training stopped: the loss of epoch 2, batch {STEPS} ({users_of(tmp_path, 2, STEPS)}) is "
        f"nan; the last good weights, those of epoch 1, are in {good}"
    )
    assert_weights(good, trained(tmp_path / "one", epochs=1)[0].state_dict())


@pytest.mark.parametrize(
    ("options", "step"),
    [({"checkpoint": 0}, 3), ({"checkpoint": 3}, 3), ({"checkpoint": 0}, STEPS)],
    ids=["found by the next loss", "found by the checkpoint", "found before validation"],
)
def test_a_gradient_that_is_no_number_is_blamed_on_its_batch(
    tmp_path: Path, options: dict[str, int], step: int
) -> None:
    spoils, good = Spoils(step, "gradient"), tmp_path / "last_good_weights.safetensors"
    assert spoilt(tmp_path, spoils, **options) == (
        f"training stopped: the gradient of epoch 1, batch {step} ({users_of(tmp_path, 1, step)}) "
        f"is not finite; the last good weights, those it began with, are in {good}"
    )
    beginning = Spoils(1, "nan")
    spoilt(tmp_path / "other", beginning)
    assert_weights(good, beginning.weights)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == [good.name]


def test_once_the_cause_is_gone_training_goes_on(tmp_path: Path) -> None:
    whole, said = trained(tmp_path / "whole"), []
    spoilt(tmp_path / "spoilt", Spoils(STEPS + 6, "nan"))
    assert_same(trained(tmp_path / "spoilt", said=said), whole)
    assert said[0] == "  going on from epoch 2, step 4"
    assert not list((tmp_path / "spoilt").glob("last_good*"))


def test_what_fits_best_is_kept_where_the_loss_is_monitored(tmp_path: Path) -> None:
    given = {"monitor": "train_loss", "lr": 0.05}
    model, history = trained(tmp_path / "whole", epochs=4, **given)
    losses = [each["train_loss"] for each in history]
    best = 1 + losses.index(min(losses))
    ending, short = trained(tmp_path / "short", epochs=best, **given)
    assert [each["train_loss"] for each in short] == losses[:best]
    for name, value in ending.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    last = trained(tmp_path / "last", epochs=4, patience=1, **given)[1]
    assert len(last) == min(4, best + 1)


def test_a_monitor_that_is_never_a_number_is_said(tmp_path: Path) -> None:
    class Unmeasured:
        @hookimpl
        def xrec_batch(self, batch: Any, module: Recommender, stage: str) -> None:
            if stage == "validate":
                module.log("val_odd", torch.tensor(math.nan), batch_size=len(batch))

    with pytest.raises(TrainingError) as raised:
        trained(tmp_path, Unmeasured(), monitor="val_odd")
    assert str(raised.value) == (
        "training was of no use: in no epoch val_odd was a number; set train.monitor to another "
        "metric, or look at the validation data"
    )


def test_the_command_line_says_it_in_one_line(
    xrec: Any, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xrec_plugins.models.sequential import SequentialRecommender

    whole = SequentialRecommender.loss
    monkeypatch.setattr(
        SequentialRecommender,
        "loss",
        lambda self, batch: {k: v * math.nan for k, v in whole(self, batch).items()},
    )
    code, _, err = xrec("run", tiny_recipe, "--runs", tmp_path / "runs")
    assert code == 2
    assert "the loss of epoch 1, batch 1 (users" in err.replace("\n", " ")
    assert "Traceback" not in err
    (folder,) = (tmp_path / "runs").glob("tiny/*")
    assert (folder / "last_good_weights.safetensors").is_file()
    assert not (folder / "stages" / "train.json").exists()


# Precision


def test_bf16_is_refused_where_it_would_be_imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    with pytest.raises(RecipeError) as raised:
        precision.plugin("bf16")
    assert str(raised.value) == "train.precision: this CPU has no bf16 of its own, set it to 32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation
    )
    with pytest.raises(RecipeError, match=r"train\.precision: Old GPU has no bf16 of its own"):
        precision.plugin("bf16")


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16"])
def test_bf16_is_taken_where_the_device_has_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True})
    plugin = precision.plugin("bf16")
    assert (plugin.precision, plugin.device) == ("bf16-mixed", "cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert precision.plugin("bf16").device == "cuda"


def test_a_run_is_refused_before_anything_is_written(
    xrec: Any, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    out = tmp_path / "runs"
    code, _, err = xrec("run", tiny_recipe, "train.precision=bf16", "--runs", out)
    assert (code, out.exists()) == (2, False)
    assert "train.precision: this CPU has no bf16 of its own, set it to 32" in err


class Seen:
    """Notes of which type scores are, in training and where users are ranked."""

    def __init__(self) -> None:
        self.types: dict[str, set[torch.dtype]] = {}

    @hookimpl
    def xrec_batch(self, batch: Any, module: Recommender, stage: str) -> None:
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        self.types.setdefault(stage, set()).add(product.dtype)


@pytest.mark.skipif(not precision.native_on_cpu(), reason="this CPU has no bf16")
def test_in_bf16_the_loss_falls_and_weights_and_ranks_stay_in_float32(tmp_path: Path) -> None:
    seen = Seen()
    model, history = trained(tmp_path / "whole", seen, precision="bf16")
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert seen.types == {"train": {torch.bfloat16}, "validate": {torch.float32}}
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    exact = trained(tmp_path / "exact")[1]
    assert history[-1]["train_loss"] != exact[-1]["train_loss"]
    assert history[-1]["train_loss"] == pytest.approx(exact[-1]["train_loss"], rel=0.02)
    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", stop=STEPS + 6, precision="bf16")
    assert_same(trained(tmp_path / "stopped", precision="bf16"), (model, history))
