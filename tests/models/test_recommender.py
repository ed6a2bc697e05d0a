"""The core, by a third party's smallest model: its loss, training, hooks and complaints."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader

from xrec import hookimpl
from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, ITEM, FeatureIndex
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.models.inputs import Inputs
from xrec.models.quality import ranking_metrics
from xrec.models.recommender import Recommender
from xrec.options import TrainOptions
from xrec.plugins import new_manager
from xrec.testing import check_model, small_data, small_model


class Bag(Recommender):
    """The mean of the history's item vectors, times the candidate's."""

    def __init__(self, data: Data, width: int = 4) -> None:
        super().__init__(data)
        self.vectors = nn.Embedding(len(data.items), width, padding_idx=0)
        self.frozen = nn.Parameter(torch.ones(()), requires_grad=False)

    def embed(self, batch: Batch) -> Inputs:
        key = torch.cat([batch.history, batch.candidate[:, None]], dim=1)
        group = torch.full_like(key, BEHAVIOUR)
        group[:, -1] = ITEM
        names = dict.fromkeys((BEHAVIOUR, ITEM), self.data_module.titles)
        index = FeatureIndex(group, key, torch.full_like(key, -1), names)
        return Inputs(self.vectors(key), key > 0, index)

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        values = torch.where(inputs.present[..., None], inputs.values, 0)
        count = inputs.present[:, :-1].sum(1).clamp(min=1)
        return (values[:, :-1].sum(1) * values[:, -1]).sum(1) / count


def _bag(seed: int = 0, **train: Any) -> Bag:
    torch.manual_seed(seed)
    data = small_data()
    data.train = replace(data.train, **train)
    return Bag(data)


def _trainer(*callbacks: Callback, epochs: int = 1) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        callbacks=list(callbacks),
    )


def _window(model: Recommender) -> Batch:
    return next(iter(model.data_module.train_dataloader()))


# What every model is given


def test_a_third_partys_model_keeps_the_contract():
    model = _bag()
    check_model(model, model.data_module.queries("test"))


def test_the_fallback_loss_is_cross_entropy_over_the_last_event_and_a_negative():
    model = _bag()
    window = _window(model)
    assert window.negatives is not None
    terms = model.loss(window)
    assert list(terms) == ["click"]
    each = []
    for row in range(len(window)):
        past = window.history[row, :-1]
        state = model.vectors(past[past > 0]).sum(0) / max(1, int((past > 0).sum()))
        good = state @ model.vectors(window.history[row, -1])
        bad = state @ model.vectors(window.negatives[row, 0])
        each += [-functional.logsigmoid(good), -functional.logsigmoid(-bad)]
    assert float(terms["click"].detach()) == pytest.approx(
        float(torch.stack(each).mean().detach()), abs=1e-6
    )


def test_a_model_that_does_not_attend_says_so():
    model = _bag()
    assert not model.attends
    inputs = model.embed(model.data_module.queries("test"))
    with pytest.raises(XrecError) as raised:
        model.attend(inputs)
    assert str(raised.value) == "the model Bag has no attention to show"


def test_its_catalogue_is_each_item_scored():
    model = _bag()
    batch = model.data_module.queries("test")
    found = model.catalogue(batch)
    for item in range(len(model.data_module.items)):
        expected = model(batch.about(torch.full_like(batch.candidate, item)))
        assert torch.allclose(found[:, item], expected, atol=1e-6)


# Training and testing by Lightning


class Shown(Callback):
    """Remembers the batches of each epoch."""

    def __init__(self) -> None:
        self.batches: dict[int, list[Batch]] = {}

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, index: int) -> None:
        self.batches.setdefault(trainer.current_epoch, []).append(batch)


def test_it_is_trained_and_ranked_by_lightning():
    model = _bag(lr=0.1)
    before = model.vectors.weight.detach().clone()
    trainer = _trainer()
    trainer.fit(model, datamodule=model.data_module)
    assert not torch.equal(model.vectors.weight, before)
    assert model.vectors.weight[0].eq(0).all()
    assert trainer.callback_metrics["train_loss"] > 0
    assert model.ranked is not None
    assert model.ranked.user.tolist() == list(range(1, len(model.data_module.users)))
    measured = ranking_metrics(model.ranked.rank)
    for name, value in measured.items():
        assert float(trainer.callback_metrics[f"val_{name}"]) == pytest.approx(float(value.mean()))


def test_each_validation_begins_anew():
    model = _bag()
    for _ in range(2):
        _trainer().validate(model, datamodule=model.data_module, verbose=False)
        assert model.ranked is not None
        assert model.ranked.user.tolist() == list(range(1, len(model.data_module.users)))


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize(("stage", "back"), [("validate", 2), ("test", 1)])
def test_a_stage_ranks_the_held_out_item_among_all_that_was_not_seen(
    stage: str, back: int, exclude: bool
):
    model = _bag()
    data = model.data_module
    object.__setattr__(data.options, "exclude_seen", exclude)
    getattr(_trainer(), stage)(model, datamodule=data, verbose=False)
    assert model.ranked is not None
    with torch.no_grad():
        scores = model.catalogue(data.queries(stage))
    for row, user in enumerate(range(1, len(data.users))):
        begin, end = data.events.span(user)
        target = int(data.events.item[end - back])
        seen = set(data.events.item[begin : end - back].tolist()) if exclude else set()
        rivals = [
            item
            for item in range(1, len(data.items))
            if item not in seen and scores[row, item] >= scores[row, target]
        ]
        assert model.ranked.rank[row] == len({*rivals, target})
        assert not seen & set(model.ranked.top[row].tolist())


def test_each_epoch_shows_what_its_number_and_the_seed_say():
    shown = Shown()
    model = _bag()
    _trainer(shown, epochs=2).fit(model, datamodule=model.data_module)
    for epoch, batches in shown.batches.items():
        data = small_data()
        data.trainer = SimpleNamespace(current_epoch=epoch)
        expected = list(data.train_dataloader())
        assert len(batches) == len(expected)
        assert all(a.history.equal(b.history) for a, b in zip(batches, expected, strict=True))
        assert all(a.negatives.equal(b.negatives) for a, b in zip(batches, expected, strict=True))
    assert sorted(shown.batches) == [0, 1]


# The optimizer


def test_adamw():
    model = _bag(optimizer="adamw", lr=0.02, weight_decay=0.3)
    optimizer = model.configure_optimizers()
    assert type(optimizer) is AdamW
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.3)


def test_sgd():
    model = _bag(optimizer="sgd", lr=0.02, weight_decay=0.3, momentum=0.5)
    optimizer = model.configure_optimizers()
    assert type(optimizer) is SGD
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], group["momentum"]) == (0.02, 0.3, 0.5)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_parts_learn_at_rates_of_their_own(name: str):
    model = _bag(optimizer=name, lr=0.5, rates={"vectors": 0.25})
    (group,) = model.configure_optimizers().param_groups  # all that learns is in it
    assert group["lr"] == 0.25
    model.frozen.requires_grad_()
    rates = [group["lr"] for group in model.configure_optimizers().param_groups]
    assert sorted(rates) == [0.25, 0.5]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_only_what_learns_is_optimised(name: str):
    model = _bag(optimizer=name)
    (group,) = model.configure_optimizers().param_groups
    assert [id(p) for p in group["params"]] == [id(model.vectors.weight)]


def test_another_optimizer_is_refused():
    with pytest.raises(ValueError, match="optimizer is 'adam': did you mean 'adamw'"):
        TrainOptions(optimizer="adam")


# Plugins that step in


class Steps:
    """A plugin that notes when it is called and, each time, what it was shown."""

    def __init__(self, name: str, notes: list[tuple]) -> None:
        self.name, self.notes = name, notes

    @hookimpl
    def xrec_batch(self, batch: Batch, stage: str) -> Batch:
        """Mark the batch: each plugin adds 100 to every user."""
        self.notes.append((self.name, "batch", stage, int(batch.user.min()) // 100))
        return replace(batch, user=batch.user + 100) if stage == "train" else batch

    @hookimpl
    def xrec_loss(self, batch: Batch, output: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        self.notes.append((self.name, "loss", tuple(output), int(batch.user.min()) // 100))
        return {self.name: torch.tensor(10.0)}

    @hookimpl
    def xrec_optimizer(self, module: Recommender, optimizer: Optimizer) -> Optimizer | None:
        self.notes.append((self.name, "optimizer", type(optimizer)))
        return None


class Replaces(Steps):
    @hookimpl
    def xrec_optimizer(self, module: Recommender, optimizer: Optimizer) -> Optimizer | None:
        self.notes.append((self.name, "optimizer", type(optimizer)))
        return SGD(module.parameters(), lr=0.0)


class Quiet:
    """A plugin that looks, and changes nothing."""

    @hookimpl
    def xrec_batch(self, batch: Batch) -> None:
        return None

    @hookimpl
    def xrec_loss(self, output: Mapping[str, Tensor]) -> None:
        return None


def _with(*plugins: object, **train: Any) -> Bag:
    model = _bag(**train)
    model.use(new_manager(plugins))
    return model


def test_plugins_step_in_in_the_order_of_the_recipe():
    notes: list[tuple] = []
    model = _with(Steps("one", notes), Steps("two", notes), Steps("three", notes))
    model.log = lambda *_, **__: None  # type: ignore[method-assign]
    window = _window(model)
    own = float(model.loss(window)["click"].detach())
    total = model.training_step(window, 0)
    assert notes == [
        ("one", "batch", "train", 0),
        ("two", "batch", "train", 1),
        ("three", "batch", "train", 2),
        ("one", "loss", ("click",), 3),
        ("two", "loss", ("click",), 3),
        ("three", "loss", ("click",), 3),
    ]
    assert float(total.detach()) == pytest.approx(own + 30)


def test_the_first_plugin_that_gives_an_optimizer_is_heard():
    notes: list[tuple] = []
    model = _with(Steps("one", notes), Replaces("two", notes), Replaces("three", notes))
    optimizer = model.configure_optimizers()
    assert type(optimizer) is SGD
    assert optimizer.param_groups[0]["lr"] == 0
    assert notes == [("one", "optimizer", AdamW), ("two", "optimizer", AdamW)]


def test_plugins_are_called_at_each_stage_of_training():
    """And what they change holds: an optimizer that does not move leaves the model as it was."""
    notes: list[tuple] = []
    model = _with(Replaces("one", notes))
    before = model.vectors.weight.detach().clone()
    trainer = _trainer()
    trainer.fit(model, datamodule=model.data_module)
    trainer.test(model, datamodule=model.data_module, verbose=False)
    assert torch.equal(model.vectors.weight, before)
    assert notes[0] == ("one", "optimizer", AdamW)
    stages = [note[2] for note in notes if note[1] == "batch"]
    batches = len(list(model.data_module.train_dataloader()))
    assert stages == ["train"] * batches + ["validate", "test"]
    assert sum(note[1] == "loss" for note in notes) == batches


class Halved:
    """A plugin that draws the batches, one of them empty, and takes the steps, one by half."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    @hookimpl
    def xrec_batches(self, data: Data, epoch: int) -> DataLoader:
        self.epochs.append(epoch)
        windows = data.windows()
        some = replace(windows, negatives=windows.history[:, :2])
        both = [some.rows(slice(0, 3)), some.rows(slice(0, 0))]
        return DataLoader(both, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]

    @hookimpl
    def xrec_step(self, module: Recommender, batch: Batch) -> Tensor | None:
        if len(batch):
            return None
        return sum(p.square().sum() for p in module.parameters()) / 2  # type: ignore[return-value]


def test_a_plugin_may_draw_the_batches_and_take_steps():
    halved = Halved()
    model = _with(halved, optimizer="sgd", lr=0.5, weight_decay=0.0, momentum=0.0)
    twin = _bag(optimizer="sgd", lr=0.5, weight_decay=0.0, momentum=0.0)
    trainer = _trainer()
    trainer.fit(model, datamodule=model.data_module)
    assert halved.epochs == list(range(trainer.max_epochs))
    optimizer = twin.configure_optimizers()
    first, _ = Halved().xrec_batches(twin.data_module, 0)
    sum(twin.loss(first).values()).backward()
    optimizer.step()
    expected = 0.5 * twin.vectors.weight.detach()
    torch.testing.assert_close(model.vectors.weight.detach(), expected)


def test_extra_terms_are_logged_by_name():
    model = _with(Steps("extra", []))
    trainer = _trainer()
    trainer.fit(model, datamodule=model.data_module)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged["train_extra"] == pytest.approx(10)
    assert logged["train_loss"] == pytest.approx(logged["train_click"] + 10, rel=1e-5)


def test_a_plugin_that_returns_nothing_changes_nothing():
    quiet, plain = _with(Quiet()), _bag()
    for model in (quiet, plain):
        _trainer().fit(model, datamodule=model.data_module)
    assert torch.equal(quiet.vectors.weight, plain.vectors.weight)


def test_a_copy_has_parameters_of_its_own_and_shares_the_data() -> None:
    model, inputs = small_model()
    with torch.no_grad():
        score = model.score(inputs)
        twin = copy.deepcopy(model)
        for parameter in twin.parameters():
            parameter.zero_()
        torch.testing.assert_close(model.score(inputs), score)
        assert not torch.allclose(twin.score(inputs), score)
    assert twin.data_module is model.data_module


def test_a_copy_of_a_copy_of_a_model_that_was_trained() -> None:
    model = _bag(lr=0.1)
    _trainer().fit(model, datamodule=model.data_module)
    twin = copy.deepcopy(copy.deepcopy(model))
    torch.testing.assert_close(twin.vectors.weight, model.vectors.weight)
    assert twin.vectors.weight is not model.vectors.weight
    assert twin.trainer is model.trainer
