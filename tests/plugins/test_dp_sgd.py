"""DP-SGD: its accounts beside dp-accounting's, its gradients beside autograd's, and its runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from chapters import artefact, blocks, rendered, words
from conftest import TINY
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from lightning import seed_everything
from omegaconf import OmegaConf
from scipy import stats
from scipy.optimize import brentq
from tongues import bytes_of, saved
from torch import Tensor, nn

from xrec import Recipe, hookimpl, plugins, run
from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.data.tasks import KNOWN
from xrec.errors import RecipeError, RunError, TrainingError, XrecError
from xrec.models.recommender import Recommender
from xrec.plugins import factory, new_manager
from xrec.report.page import page
from xrec.report.section import Table, Terms
from xrec.runs.resume import position
from xrec.runs.run import Run
from xrec.runs.training import fit
from xrec.testing import small_data
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.models.cross_encoder import CrossEncoder
from xrec_plugins.privacy import gradients
from xrec_plugins.privacy.dp_sgd import DpSgd
from xrec_plugins.privacy.draws import Draws
from xrec_plugins.privacy.ledger import Ledger
from xrec_plugins.privacy.optimizer import Noised
from xrec_plugins.privacy.units import Drawn, Units, sizes

# The account


def by_dp_accounting(kind: str, noise: float, rate: float, steps: int, delta: float) -> float:
    accountant = {"rdp": RdpAccountant, "prv": PLDAccountant}[kind]()
    event = PoissonSampledDpEvent(rate, GaussianDpEvent(noise))
    accountant.compose(SelfComposedDpEvent(event, steps))
    return float(accountant.get_epsilon(delta))


def gaussian(noise: float, steps: int, delta: float) -> float:
    """Epsilon of Gaussian mechanisms, composed, without sampling (Balle and Wang, 2018)."""
    mu = math.sqrt(steps) / noise
    phi = stats.norm.cdf

    def beyond(epsilon: float) -> float:
        lost = math.exp(epsilon) * phi(-epsilon / mu - mu / 2)
        return float(phi(-epsilon / mu + mu / 2) - lost - delta)

    return float(brentq(beyond, 0, 100))


ACCOUNTS = [(1.1, 0.1, 200, 1e-5), (0.7, 0.01, 1000, 1e-6), (4.0, 0.5, 60, 1e-4)]


@pytest.mark.parametrize("kind", ["prv", "rdp"])
@pytest.mark.parametrize("account", ACCOUNTS)
def test_the_account_is_that_of_dp_accounting(kind: str, account: tuple) -> None:
    noise, rate, steps, delta = account
    ledger = Ledger(kind, 1e3, delta, rate, steps, noise)
    expected = by_dp_accounting(kind, noise, rate, steps, delta)
    assert ledger.after(steps) == pytest.approx(expected, rel=0.02, abs=0.02)
    assert ledger.after(steps) >= expected - 0.02  # an upper bound


@pytest.mark.parametrize(("kind", "loose"), [("prv", 0.02), ("rdp", 1.0)])
def test_without_sampling_it_is_the_gaussian_mechanisms(kind: str, loose: float) -> None:
    ledger = Ledger(kind, 1e3, 1e-5, 1.0, 50, 4.25)
    exact = gaussian(4.25, 50, 1e-5)
    assert exact - 1e-3 <= ledger.after(50) <= exact + loose


@pytest.mark.parametrize("kind", ["prv", "rdp"])
@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_the_noise_is_the_least_that_the_budget_lasts_with(kind: str, epsilon: float) -> None:
    ledger = Ledger(kind, epsilon, 1e-5, 0.1, 200)
    found = by_dp_accounting(kind, ledger.noise, 0.1, 200, 1e-5)
    assert epsilon - 0.1 <= found <= epsilon + 0.005
    assert ledger.allowed == 200
    less = by_dp_accounting(kind, 0.98 * ledger.noise, 0.1, 200, 1e-5)
    assert less > epsilon


@pytest.mark.parametrize(("kind", "loose"), [("prv", 0.02), ("rdp", 1.0)])
def test_counts_are_part_of_the_account(kind: str, loose: float) -> None:
    """Without sampling, all is one Gaussian mechanism, of which squares of 1 / noise add up."""
    ledger = Ledger(kind, 1e3, 1e-5, 1.0, 50, 4.25, counts=2.0)
    exact = gaussian(1 / math.sqrt(50 / 4.25**2 + 1 / 2.0**2), 1, 1e-5)
    assert exact - 1e-3 <= ledger.after(50) <= exact + loose
    assert ledger.after(0) == pytest.approx(gaussian(2.0, 1, 1e-5), abs=loose)
    assert ledger.after(50) > Ledger(kind, 1e3, 1e-5, 1.0, 50, 4.25).after(50) + 0.1


@pytest.mark.parametrize("kind", ["prv", "rdp"])
def test_the_noise_leaves_room_for_counts(kind: str) -> None:
    ledger = Ledger(kind, 8.0, 1e-5, 0.25, 160, counts=2.0)
    accountant = {"rdp": RdpAccountant, "prv": PLDAccountant}[kind]()
    accountant.compose(GaussianDpEvent(2.0))
    event = PoissonSampledDpEvent(0.25, GaussianDpEvent(ledger.noise))
    accountant.compose(SelfComposedDpEvent(event, 160))
    assert 7.9 <= accountant.get_epsilon(1e-5) <= 8.05  # it leaves out orders that Opacus has
    assert ledger.noise > Ledger(kind, 8.0, 1e-5, 0.25, 160).noise


def test_the_steps_that_are_allowed_are_the_most_within_the_budget() -> None:
    ledger = Ledger("prv", 3.0, 1e-5, 0.2, 500, 1.5)
    assert 0 < ledger.allowed < 500
    assert by_dp_accounting("prv", 1.5, 0.2, ledger.allowed, 1e-5) <= 3.0
    assert by_dp_accounting("prv", 1.5, 0.2, ledger.allowed + 3, 1e-5) > 3.0


def test_budgets_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"no noise is enough for 200 steps within epsilon 0\.05"):
        Ledger("rdp", 0.05, 1e-5, 0.1, 200)
    with pytest.raises(RecipeError, match=r"no noise is enough .* or counts"):
        Ledger("rdp", 1.0, 1e-5, 0.1, 20, counts=0.5)
    with pytest.raises(RecipeError, match=r"with noise 0\.1 a single step costs epsilon .*: raise"):
        Ledger("rdp", 1.0, 1e-5, 0.5, 10, 0.1)


def test_a_step_beyond_the_budget_is_not_taken() -> None:
    model = small_model()
    optimizer = noised(model, budget=Ledger("rdp", 8.0, 1e-5, 0.5, 2))
    for _ in range(2):
        optimizer.begin()
        optimizer.step()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.begin()
    with pytest.raises(TrainingError, match="would exceed the privacy budget, which 2 steps have"):
        optimizer.step()
    assert all(map(torch.equal, before, model.parameters()))


def test_a_checkpoint_of_another_budget_is_refused() -> None:
    ledger, other = (Ledger("rdp", 8.0, 1e-5, 0.5, 2, noise) for noise in (2.0, 3.0))
    ledger.step(noised(small_model(), budget=ledger))
    twin = Ledger("rdp", 8.0, 1e-5, 0.5, 2, 2.0)
    twin.load(ledger.state())
    assert twin.steps == 1
    with pytest.raises(RunError, match="taken with other noise"):
        other.load(ledger.state())
    with pytest.raises(RunError, match="taken with other noise"):
        Ledger("rdp", 8.0, 1e-5, 0.5, 2, 2.0, counts=9.0).load(ledger.state())


# What is drawn


def test_noise_is_normal() -> None:
    found = Draws.of(3).normal(300_000)
    assert stats.kstest(found, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.01
    secure = Draws.of(None).normal(300_000)
    assert abs(secure.mean()) < 0.02
    assert abs(secure.std() - 1) < 0.02
    assert Draws.of(3).normal(0).shape == (0,)


def test_only_a_seed_makes_draws_repeatable() -> None:
    assert np.array_equal(Draws.of(1, 5, 2).normal(9), Draws.of(1, 5, 2).normal(9))
    assert not np.array_equal(Draws.of(1, 5, 2).normal(9), Draws.of(1, 6, 2).normal(9))
    torch.manual_seed(0)
    one = Draws.of(None, 5, 2)
    torch.manual_seed(0)
    assert not np.array_equal(one.normal(9), Draws.of(None, 5, 2).normal(9))


def test_units_are_drawn_by_poisson_sampling() -> None:
    units = Units(small_data(users=40), "user")
    assert len(units) == 40
    drawn = [units.drawn(0.3, Draws.of(0, step)).user.unique() for step in range(500)]
    often = torch.bincount(torch.cat(drawn), minlength=41)[1:] / 500
    assert (often - 0.3).abs().max() < 0.1
    count = torch.tensor([len(users) for users in drawn]).float()
    assert count.mean() == pytest.approx(12, abs=0.5)
    assert count.var() == pytest.approx(40 * 0.3 * 0.7, rel=0.25)  # not of a fixed size
    together = torch.stack([torch.isin(torch.arange(1, 41), users) for users in drawn]).float()
    assert (torch.corrcoef(together.T) - torch.eye(40)).abs().max() < 0.25  # each by itself


def test_a_user_brings_all_their_windows_or_some() -> None:
    data = small_data(users=20, history=2)
    windows = data.windows()
    whole = Units(data, "user").drawn(1.0, Draws.of(0))
    assert torch.equal(whole.history, windows.history)
    assert whole.negatives is not None
    assert torch.equal(sizes(whole, "user"), torch.bincount(windows.user)[1:])
    some = [Units(data, "user", 2).drawn(1.0, Draws.of(at)) for at in range(30)]
    assert all(sizes(batch, "user").max() == 2 for batch in some)
    seen = {tuple(row) for batch in some for row in batch.history.tolist()}
    assert seen == {tuple(row) for row in windows.history.tolist()}  # by and by
    alone = Units(data, "example")
    assert len(alone) == len(windows)
    assert sizes(alone.drawn(1.0, Draws.of(0)), "example").tolist() == [1] * len(windows)


@pytest.mark.parametrize("level", ["user", "example"])
def test_a_unit_adds_one_to_the_counts(level: str) -> None:
    data = small_data(users=20, history=4)
    units, windows = Units(data, level), data.windows()
    expected = torch.zeros(len(data.items), dtype=torch.double)
    unit = windows.user if level == "user" else torch.arange(len(windows))
    for one in unit.unique():
        had = set(windows.history[unit == one][windows.learned[unit == one]].tolist())
        own = torch.zeros_like(expected)
        own[list(had)] = 1
        expected += own / own.norm()
    torch.testing.assert_close(units.counts(), expected)
    assert units.counts()[0] == 0  # padding
    whole = data.seen(torch.arange(1, 21), "train").sum(0)
    assert torch.equal(units.counts() > 0, whole > 0)


def test_nobody_may_be_drawn() -> None:
    batch = Units(small_data(), "user").drawn(0.0, Draws.of(0))
    assert len(batch) == 0
    assert len(sizes(batch, "user")) == len(sizes(batch, "example")) == 0


def test_an_epoch_goes_on_where_it_was() -> None:
    def epoch() -> Drawn:
        return Drawn(Units(small_data(), "user"), 0.5, 10, 6, lambda step: Draws.of(0, step))

    whole, rest = [batch.user.tolist() for batch in epoch()], epoch()
    rest.load_state_dict({"served": 4})
    assert len(rest) == 6
    assert [batch.user.tolist() for batch in rest] == whole[4:]
    assert rest.state_dict() == {"served": 6}
    assert [batch.user.tolist() for batch in rest] == whole


# Gradients


def small_model(
    tasks: tuple[str, ...] = ("click",), dropout: float = 0.0, start: str = "random", **data: Any
):
    world = small_data(**{"users": 20, "history": 4, **data})
    world = Data(world.tables, world.options, world.train, 0, [KNOWN[name] for name in tasks])
    encoder = factory("encoder", "hashed")(size=8)
    torch.manual_seed(0)
    texts = encoder.encode(world.texts)
    options = {"width": 8, "layers": 2, "dropout": dropout, "start": start}
    model = factory("model", "sequential")(**options).build(world, texts, encoder)
    model.use(new_manager())
    with torch.no_grad():
        for parameter in model.parameters():  # away from where gates and biases begin
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.train()


def noised(model: Recommender, budget: Ledger | None = None, **options: Any) -> Noised:
    given = {"clip": 1.0, "expected": 1, "draws": lambda step: Draws.of(0, step), **options}
    plain = given.pop("optimizer", None) or torch.optim.SGD(learning(model).values(), lr=1.0)
    ledger = budget or Ledger("rdp", 1e6, 1e-5, 0.5, 1000, 1.0)
    optimizer = Noised(plain, ledger, given["clip"], given["expected"], given["draws"])
    optimizer.noise_multiplier = given.get("noise", ledger.noise)
    return optimizer


def learning(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def by_autograd(model: Recommender, batch: Batch) -> dict[str, Tensor]:
    """The gradient of the loss of a batch, by a backward pass of its own."""
    model.zero_grad(set_to_none=True)
    sum(model.weighted(model.loss(batch)).values()).backward()  # type: ignore[union-attr]
    found = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in learning(model).items()
    }
    model.zero_grad(set_to_none=True)
    return found


def split(batch: Batch, level: str = "user") -> list[Batch]:
    index = torch.arange(len(batch)).split(sizes(batch, level).tolist())
    return [batch.rows(rows) for rows in index]


def every(model: Recommender, batch: Batch, level: str = "user") -> list[dict[str, Tensor]]:
    """What `gradients.each` finds, unit by unit, in no order."""
    found = []
    for some, losses in gradients.each(model, batch, sizes(batch, level)):
        for at in range(len(losses)):
            found.append({name: some[p][at] for name, p in learning(model).items()})
    return found


def key(gradient: dict[str, Tensor]) -> float:
    return round(float(torch.cat([g.flatten() for g in gradient.values()]).norm()), 4)


def assert_alike(found: list[dict[str, Tensor]], expected: list[dict[str, Tensor]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
        for name, value in other.items():
            torch.testing.assert_close(one[name], value, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("level", ["user", "example"])
@pytest.mark.parametrize("tasks", [("click",), ("click", "rating")])
@pytest.mark.parametrize("items", [15, 400])  # fused one by one where they are many
def test_gradients_of_units_are_those_of_autograd(level: str, tasks: tuple, items: int) -> None:
    model = small_model(tasks, items=items)
    model.data_module.train = replace(model.data_module.train, negatives=6)
    batch = Units(model.data_module, level).drawn(0.7, Draws.of(1))
    if level == "user":
        assert len(sizes(batch, level).unique()) > 2
    assert gradients.maps(model)
    expected = [by_autograd(model, unit) for unit in split(batch, level)]
    assert_alike(every(model, batch, level), expected)


class Watches:
    """A plugin that adds to the loss, so that units cannot be mapped over."""

    @hookimpl
    def xrec_loss(self, module: Recommender, batch: Batch) -> dict[str, Tensor]:
        return {"mine": 0.1 * module.get_parameter("query").square().sum() * len(batch)}


def test_a_plugin_that_adds_to_the_loss_is_heard_for_each_unit() -> None:
    model = small_model()
    batch = Units(model.data_module, "user").drawn(0.5, Draws.of(1))
    bare = every(model, batch)
    model.use(new_manager([Watches()]))
    assert not gradients.maps(model)
    found, query = every(model, batch), model.get_parameter("query").detach()
    for one, other, unit in zip(
        sorted(found, key=lambda g: float(g["norm.weight"].norm())),
        sorted(bare, key=lambda g: float(g["norm.weight"].norm())),
        sorted(split(batch), key=lambda u: float(by_autograd(model, u)["norm.weight"].norm())),
        strict=True,
    ):
        torch.testing.assert_close(one["query"], other["query"] + 0.2 * len(unit) * query)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("bert", tmp_path_factory.mktemp("bert"), bytes_of("<s>"))


def language_model(folder: Path, kind: str, tune: str) -> Recommender:
    """A model whose texts are read by a tiny BERT."""
    data = small_data(users=8, history=4)
    items = data.tables.items.with_columns(text=data.tables.items["title"])
    users = data.tables.users.select("user", "age")
    data = Data(data.tables.replace(items=items, users=users), data.options, data.train)
    encoder = Pretrained(str(folder), tune=tune)
    torch.manual_seed(0)
    texts = torch.randn(len(data.items), 16)
    if kind == "sequential":
        model = factory("model", "sequential")(width=8, dropout=0.0, reads=3).build(
            data, texts, encoder
        )
    else:
        options = {"tokens": 64, "item_tokens": 9, "candidates": 4, "rows": 3}
        model = CrossEncoder(**options, retriever={"width": 8}).build(data, texts, encoder)
    model.use(new_manager())
    return model.eval()


@pytest.mark.parametrize("kind", ["sequential", "cross_encoder"])
@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
def test_language_models_learn_from_each_unit(bert: Path, kind: str, tune: str) -> None:
    model = language_model(bert, kind, tune)
    assert gradients.maps(model) == (kind == "sequential" and tune == "frozen")
    batch = Units(model.data_module, "user", 2).drawn(0.5, Draws.of(2))
    torch.manual_seed(5)
    expected = [by_autograd(model, unit) for unit in split(batch)]
    torch.manual_seed(5)  # a loss draws what it reads, and its negatives
    assert_alike(every(model, batch), expected)
    inner = [name for name in expected[0] if "transformer" in name]
    assert bool(inner) == (tune != "frozen")
    assert not inner or any(expected[0][name].any() for name in inner)


# The optimizer


def clipped(gradient: dict[str, Tensor], norm: float) -> dict[str, Tensor]:
    whole = torch.cat([g.flatten() for g in gradient.values()]).norm()
    return {name: g * min(1.0, norm / float(whole)) for name, g in gradient.items()}


def stepped(model: Recommender, optimizer: Noised, batch: Batch) -> dict[str, Tensor]:
    """How far each parameter moved in a step."""
    before = {name: p.detach().clone() for name, p in learning(model).items()}
    optimizer.begin()
    for found, _ in gradients.each(model, batch, sizes(batch, "user")):
        optimizer.take(found)
    optimizer.zero_grad()  # as Lightning does between the two
    optimizer.step()
    return {name: before[name] - p.detach() for name, p in learning(model).items()}


def test_each_units_gradient_is_clipped_before_they_are_summed() -> None:
    model = small_model()
    batch = Units(model.data_module, "user").drawn(0.8, Draws.of(1))
    each = [by_autograd(model, unit) for unit in split(batch)]
    norms = sorted(key(gradient) for gradient in each)
    clip = norms[len(norms) // 2]
    assert norms[0] < clip < norms[-1]
    cut = [clipped(gradient, clip) for gradient in each]
    moved = stepped(model, noised(model, clip=clip, expected=7, noise=0.0), batch)
    for name, value in moved.items():
        expected = sum(gradient[name] for gradient in cut) / 7
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4, msg=name)


def test_without_a_user_only_their_own_term_is_missing() -> None:
    """The sums of neighbouring data differ by one clipped gradient, of norm 1 at most."""
    model = small_model()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    batch = Units(model.data_module, "user").drawn(1.0, Draws.of(1))
    gone = int(batch.user[3])
    own = clipped(by_autograd(model, batch.rows(batch.user == gone)), 1.0)
    whole = stepped(model, noised(model, noise=0.0), batch)
    model.load_state_dict(start)
    rest = stepped(model, noised(model, noise=0.0), batch.rows(batch.user != gone))
    apart = {name: whole[name] - rest[name] for name in whole}
    assert key(apart) <= 1 + 1e-4
    for name, value in apart.items():
        torch.testing.assert_close(value, own[name], atol=2e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_without_noise_or_clipping_it_is_ordinary_training(kind: str) -> None:
    make = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, eps=1e-3),  # or rounding weighs in
    }[kind]
    one, other = small_model(), small_model()
    plain = make(list(learning(other).values()))
    inner = make(list(learning(one).values()))
    batches = [Units(one.data_module, "user").drawn(0.6, Draws.of(at)) for at in range(3)]
    private = noised(one, noise=0.0, clip=math.inf, expected=10, optimizer=inner)
    for batch in batches:
        stepped(one, private, batch)
        plain.zero_grad()
        loss = sum(next(iter(other.loss(unit).values())) for unit in split(batch)) / 10
        loss.backward()  # type: ignore[union-attr]
        for parameter in other.parameters():
            if parameter.grad is None:  # of no bearing on these units
                parameter.grad = torch.zeros_like(parameter)
        plain.step()
    for name, value in other.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], value, atol=1e-5, rtol=1e-3, msg=name)


def test_the_noise_is_its_multiplier_times_the_clipping_norm() -> None:
    """Of an empty batch the step is noise alone, over the number of units expected."""
    model = small_model()
    empty = Units(model.data_module, "user").drawn(0.0, Draws.of(0))
    optimizer = noised(model, clip=0.5, expected=4, noise=3.0)
    moved = [stepped(model, optimizer, empty) for _ in range(40)]
    assert optimizer.ledger.steps == 40
    every_one = torch.cat([value.flatten() for each in moved for value in each.values()])
    assert float(every_one.std()) == pytest.approx(3.0 * 0.5 / 4, rel=0.02)
    assert float(every_one.mean()) == pytest.approx(0, abs=0.01)
    first, second = (torch.cat([v.flatten() for v in each.values()]) for each in moved[:2])
    assert not torch.equal(first, second)


def test_noise_is_added_to_what_was_summed() -> None:
    model = small_model()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    batch = Units(model.data_module, "user").drawn(0.8, Draws.of(1))
    bare = stepped(model, noised(model, noise=0.0), batch)
    added = []
    for seed in range(20):
        model.load_state_dict(start)
        optimizer = noised(model, noise=1.5, draws=lambda step, seed=seed: Draws.of(seed, step))
        moved = stepped(model, optimizer, batch)
        added.append(torch.cat([(moved[name] - bare[name]).flatten() for name in bare]))
    assert float(torch.cat(added).std()) == pytest.approx(1.5, rel=0.02)


def test_a_unit_whose_gradient_is_no_number_counts_for_nothing() -> None:
    model = small_model()
    optimizer = noised(model, noise=0.0)
    optimizer.begin()
    parameters = list(learning(model).values())
    given = {p: torch.full((3, *p.shape), 1e-3) for p in parameters}
    given[parameters[0]][1] = torch.nan
    given[parameters[1]][2] = torch.inf
    optimizer.take(given)
    for parameter in parameters:
        torch.testing.assert_close(parameter.summed_grad, given[parameter][0])


# Training


class Stopped(Exception):
    """What stands for a kill."""


class Stop:
    """Stops training at its n-th step, before the weights change; from 1, 0 for never."""

    def __init__(self, at: int) -> None:
        self.at, self.steps = at, 0

    @hookimpl
    def xrec_step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise Stopped


def trained(
    folder: Path,
    mechanism: DpSgd,
    stop: int = 0,
    tell: Any = print,
    start: str = "random",
    **train: Any,
) -> Recommender:
    """A model after training in `folder`, as the train stage does it."""
    seed_everything(3, verbose=False)
    model = small_model(dropout=0.2, users=30, start=start)
    data = model.data_module
    defaults = {"epochs": 3, "batch": 6, "lr": 0.01, "checkpoint": 2, "patience": 99}
    data.train = model.options = replace(data.train, **{**defaults, **train})
    model.use(new_manager([Stop(stop), mechanism]))
    checkpoint = folder / "checkpoint.safetensors"
    position(checkpoint, model, tell)
    fit(model, data, [], folder, checkpoint, lambda text: None)
    return model


def assert_same(one: Recommender, other: Recommender) -> None:
    for name, value in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], value), name


def test_a_model_begins_with_counts_and_noise(tmp_path: Path) -> None:
    """Of few users, whose counts are far below the noise, and of each draw anew."""
    units = Units(small_data(users=30, items=400), "user")
    drawn = torch.stack(
        [DpSgd(8, counts=0.25, seed=seed)._counted(units, 1.5)[100:] for seed in range(40)]
    )
    assert float(drawn.min()) == 1.5  # what is less tells nothing
    beyond = stats.norm.sf((3.0 - units.counts()[100:].numpy()) / 1.5).mean()
    assert float((drawn > 3.0).double().mean()) == pytest.approx(beyond, rel=0.1)
    assert not torch.equal(*(DpSgd(8, counts=0.25)._counted(units, 1.5) for _ in range(2)))


def test_only_the_seed_for_tests_makes_training_repeatable(tmp_path: Path) -> None:
    one, two = (
        trained(tmp_path, DpSgd(8, 1e-3, seed=1, accountant="rdp"), epochs=1) for _ in range(2)
    )
    assert_same(one, two)
    one, two = (trained(tmp_path, DpSgd(8, 1e-3, accountant="rdp"), epochs=1) for _ in range(2))
    assert not torch.equal(one.get_parameter("query"), two.get_parameter("query"))


def test_what_is_drawn_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    """Whoever knows the recipe's seed can foresee neither noise, nor whom a step sees, nor how."""
    after = []
    for seed in (1, 2):
        made = DpSgd(8, 1e-3, seed=seed, accountant="rdp")
        trained(tmp_path, made, epochs=1, checkpoint=0)
        after.append(torch.rand(4))
    assert torch.equal(*after)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[DpSgd, Recommender]:
    made = DpSgd(8, 1e-3, seed=1, accountant="rdp")
    return made, trained(tmp_path_factory.mktemp("whole"), made)


@pytest.mark.parametrize("stop", [3, 6, 8])  # of five steps an epoch
def test_a_stopped_training_goes_on_with_its_account(
    tmp_path: Path, stop: int, uninterrupted: tuple[DpSgd, Recommender]
) -> None:
    one, (whole, expected) = DpSgd(8, 1e-3, seed=1, accountant="rdp"), uninterrupted
    said: list[str] = []
    with pytest.raises(Stopped):
        trained(tmp_path / "killed", one, stop)
    again = DpSgd(8, 1e-3, seed=1, accountant="rdp")
    found = trained(tmp_path / "killed", again, tell=said.append)
    steps = {3: "epoch 1, step 2", 6: "epoch 2, step 0", 8: "epoch 2, step 2"}[stop]
    assert said == [f"  going on from {steps}"]
    assert_same(found, expected)
    assert again._work.ledger.steps == whole._work.ledger.steps == 15
    assert again._work.ledger.spent == whole._work.ledger.spent <= 8


def test_a_resumed_training_does_not_begin_with_counts_again(tmp_path: Path) -> None:
    def mechanism() -> DpSgd:
        return DpSgd(8, 1e-3, counts=0.25, seed=1, accountant="rdp")

    expected = trained(tmp_path / "whole", mechanism(), start="similar")
    with pytest.raises(Stopped):
        trained(tmp_path / "killed", mechanism(), 8, start="similar")
    made = mechanism()
    assert_same(trained(tmp_path / "killed", made, start="similar"), expected)
    assert made._work.ledger.after(0) == pytest.approx(2, abs=0.3)  # a quarter; RDP is loose
    assert 7.9 <= made._work.ledger.spent <= 8
    with pytest.raises(XrecError, match="cannot begin with counts of items"):
        trained(tmp_path / "random", mechanism())


@pytest.mark.parametrize("stop", [0, 4, 7])
def test_the_budget_ends_training_also_after_a_resume(tmp_path: Path, stop: int) -> None:
    """With noise of its own it lasts for seven steps of fifteen: two of the second epoch."""

    def mechanism() -> DpSgd:
        return DpSgd(2.8, 1e-3, noise=1.1, seed=1, accountant="rdp")

    if stop:
        with pytest.raises(Stopped):
            trained(tmp_path, mechanism(), stop)
    made = mechanism()
    trained(tmp_path, made)
    ledger = made._work.ledger
    assert ledger.steps == ledger.allowed == 7
    assert ledger.spent <= 2.8 < ledger.after(8)


def test_batches_may_be_empty(tmp_path: Path) -> None:
    """Of 30 users one is expected a step: in a third of steps there is none."""
    made = DpSgd(8, 1e-3, seed=1, accountant="rdp")
    model = trained(tmp_path, made, batch=1, epochs=1)
    assert made._work.ledger.steps == 30
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["sequential", "cross_encoder"])
def test_a_language_model_is_trained(bert: Path, kind: str, tmp_path: Path) -> None:
    model = language_model(bert, kind, "lora")
    model.data_module.train = model.options = replace(
        model.options, epochs=1, batch=4, monitor="val_mrr"
    )
    made = DpSgd(8, 1e-2, windows=1, seed=1, accountant="rdp")
    model.use(new_manager([made]))
    before = {name: p.detach().clone() for name, p in learning(model).items()}
    fit(model, model.data_module, [], tmp_path, tmp_path / "checkpoint", lambda text: None)
    assert made._work.ledger.steps == 2
    assert all(not torch.equal(before[name], p) for name, p in learning(model).items())


# What is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epsilon": 0}, "epsilon is 0, it must be above 0"),
        ({"epsilon": -1}, "epsilon is -1, it must be above 0"),
        ({"epsilon": math.inf}, "epsilon is inf, it must be above 0, and finite"),
        ({"delta": 0}, "delta is 0, it must be above 0, and below 1 / the number of users"),
        ({"delta": 1}, "delta is 1, it must be above 0, and below 1 / the number of users"),
        ({"clip": 0}, "clip is 0, it must be above 0"),
        ({"noise": 0.0}, "noise is 0, it must be above 0"),
        ({"counts": 1.0}, "counts is 1, it must be above 0 and below 1"),
        ({"level": "users"}, "level is 'users': did you mean 'user'"),
        ({"accountant": "pvr"}, "accountant is 'pvr': did you mean 'prv'"),
        ({"windows": -1}, "windows is -1, it must be at least 0"),
        ({"seed": -1}, "seed is -1, it must be at least 0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DpSgd(**{"epsilon": 8, **options})


@pytest.mark.parametrize(("level", "count"), [("user", "users"), ("example", "training windows")])
def test_delta_must_be_below_one_over_the_units(tmp_path: Path, level: str, count: str) -> None:
    with pytest.raises(RecipeError, match=f"delta is 0.2, it must be below .* of {count}"):
        trained(tmp_path, DpSgd(8, 0.2, level=level, accountant="rdp"))


def test_layers_that_would_learn_without_noise_are_named(tmp_path: Path) -> None:
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.norm = nn.BatchNorm1d(8)
    with pytest.raises(RecipeError, match=r"the layer norm \(BatchNorm1d\).*use LayerNorm"):
        DpSgd(8).xrec_optimizer(model, optimizer, model.data_module)
    model.norm = nn.Embedding(3, 4, sparse=True)
    with pytest.raises(RecipeError, match=r"the layer norm \(Embedding\): make it with sparse=F"):
        DpSgd(8).xrec_optimizer(model, optimizer, model.data_module)


class Counting(nn.LayerNorm):
    """A layer of a third party's that counts what goes through it."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        self.count += len(values)
        return super().forward(values)


def test_a_buffer_that_changes_is_found_out() -> None:
    model = small_model()
    model.norm = Counting(8)
    mechanism = DpSgd(8, 1e-3, seed=1, accountant="rdp")
    model.use(new_manager([mechanism, Watches()]))  # mapped over, torch itself would refuse
    model.configure_optimizers()
    batch = mechanism._work.units.drawn(0.5, Draws.of(0))
    with pytest.raises(TrainingError, match=r"in a training step it changes norm\.count"):
        mechanism.xrec_step(model, batch)


def tiny(**changes: Any) -> Recipe:
    plain = OmegaConf.to_container(OmegaConf.create(TINY))
    assert isinstance(plain, dict)
    privacy = {"name": "dp_sgd", "epsilon": 8, "delta": 1e-3, "noise": 1.0, "seed": 1}
    return Recipe.of({**plain, "privacy": [privacy], **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": {"keep": 2}}, "train.keep: weights are kept to trace"),
        ({"influence": ["tracin"]}, "influence: it traces recommendations back"),
        ({"data": {"dataset": "planted"}, "compress": ["learning"]}, r"compress\[0\]: 'learning'"),
    ],
)
def test_what_reads_the_data_again_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = plugins.factory
    own = {"learning": type("Learning", (), {}), "rounding": type("R", (), {"learns": False})}
    monkeypatch.setattr(plugins, "factory", lambda kind, name: own.get(name) or known(kind, name))
    mechanism = DpSgd(8)
    with pytest.raises(RecipeError, match=said):
        mechanism.xrec_recipe(tiny(**changes))
    mechanism.xrec_recipe(tiny(compress=["rounding"]))


def test_a_run_says_so_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(XrecError, match=r"train\.keep"):
        run(tiny(train={"keep": 2}), tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_an_error_names_nobody(tmp_path: Path) -> None:
    class Spoils:
        @hookimpl
        def xrec_loss(self, module: Recommender) -> dict[str, Tensor]:
            return {"mine": module.get_parameter("query").sum() * math.nan}

    model = small_model(users=30)
    model.use(new_manager([Spoils(), DpSgd(8, 1e-3, accountant="rdp")]))
    with pytest.raises(TrainingError) as raised:
        fit(model, model.data_module, [], tmp_path, tmp_path / "checkpoint", lambda text: None)
    said = str(raised.value)
    assert "training stopped: the loss of epoch 1, batch 1 is nan" in said
    assert "users" not in said
    assert not any(f"'{user}'" in said for user in model.data_module.users.ids)


# Runs


@pytest.fixture(scope="module")
def private_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tiny(), tmp_path_factory.mktemp("private"))


def test_a_run_keeps_what_was_spent(private_run: Run) -> None:
    told = artefact(private_run, "privacy/dp_sgd.json")
    assert told["units"] == 60
    assert told["sample_rate"] == pytest.approx(16 / 60)
    assert told["steps"] == told["planned"] == 8
    expected = by_dp_accounting("prv", 1.0, 16 / 60, 8, 1e-3)
    assert told["spent"] == pytest.approx(expected, abs=0.02)
    assert told["gradients"] == "mapped"
    assert "privacy/dp_sgd.json" in private_run.store.writes("train")


def test_the_report_tells_what_is_covered_and_what_not(private_run: Run) -> None:
    told = artefact(private_run, "privacy/dp_sgd.json")
    chapter = rendered("privacy", private_run)
    assert chapter.title in (private_run.folder / "report.html").read_text()
    said = words(chapter)
    assert f"epsilon is {told['spent']:.2f}, of a budget of 8, at delta 0.001" in said
    for open_ in ("validation events", "cleaning", "encoder's own data", "items", "baselines"):
        assert open_ in said
    assert "drawn by a seed" in said
    covers, leaves = blocks(chapter, Terms)
    assert len(covers.pairs) == 1
    assert len(leaves.pairs) == len(told["not_covered"])
    (table,) = blocks(chapter, Table)
    assert ("noise, over that norm", "1.000") in table.rows
    page("a run", [chapter])


@dataclass
class Learned:
    """A third party's explainer that learns."""

    def fit(self, model: Recommender, data: Data) -> dict[str, Any]:
        return {"seconds": 0.0}

    def state(self) -> dict[str, Tensor]:
        return {"nothing": torch.zeros(1)}

    def restore(self, state: Any, model: Recommender, data: Data) -> None:
        pass

    def explain(self, model: Recommender, inputs: Any, target: Any) -> Any:
        return factory("explainer", "random")().explain(model, inputs, target)


@dataclass
class Ready(Learned):
    """One that by its options has nothing to learn."""

    learns: ClassVar[bool] = False


def test_explainers_that_learn_are_not_covered(private_run, monkeypatch) -> None:
    """Also where the training is one that another run did, before they were asked for."""
    assert artefact(private_run, "privacy/dp_sgd.after.json") == {"not_covered": []}
    known, own = plugins.factory, {"learned": Learned, "ready": Ready}
    monkeypatch.setattr(plugins, "factory", lambda kind, name: own.get(name) or known(kind, name))
    said: list[str] = []
    more = run(
        tiny(explain=["leave_one_out", {"name": "learned", "label": "mine"}, "ready"]),
        private_run.folder.parents[1],
        said.append,
    )
    assert any(line.startswith("train: as in") for line in said)
    ((term, told),) = artefact(more, "privacy/dp_sgd.after.json")["not_covered"]
    assert term == "explainers that learn"
    assert told.endswith("whom it is for: mine")
    *_, leaves = blocks(rendered("privacy", more), Terms)
    assert (term, told) in [tuple(pair) for pair in leaves.pairs]
    assert told in (more.folder / "report.html").read_text()


def test_the_report_says_who_is_protected_and_that_the_budget_ended(private_run, tmp_path) -> None:
    copy = Run(private_run.recipe, tmp_path)
    told = artefact(private_run, "privacy/dp_sgd.json")
    copy.store.write_json(
        "privacy/dp_sgd.json",
        {
            **told,
            "level": "example",
            "unit": "training window",
            "stopped": True,
            "planned": 99,
            "counts": {"noise": 2.0, "epsilon_alone": 2.0},
        },
    )
    chapter = rendered("privacy", copy)
    said = words(chapter)
    (table,) = blocks(chapter, Table)
    assert table.rows[-1][0].startswith("noise of how often items were had")
    assert table.rows[-1][1] == "2.000"
    assert "Whether or not one training window was there" in said
    assert "for single windows of training, not for users" in said
    assert "of 99 steps that were planned, 8 were taken" in said


def test_a_run_without_privacy_has_nothing_to_tell(tiny_run: Run) -> None:
    assert not rendered("privacy", tiny_run).blocks
