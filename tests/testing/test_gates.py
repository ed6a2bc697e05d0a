"""The gates let through what is sound, and each catches its fault; every explainer faces them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from explain.toys import exact_shapley
from torch import Tensor

from xrec.data.module import Data
from xrec.errors import PluginError, XrecError
from xrec.explain.explainer import Choosing, Explainer, Trained
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.plugins import factory, listings
from xrec.testing import GATES, check_gates, gates, small_data
from xrec.testing.toys import BentToy, LinearToy
from xrec_plugins.explainers.attention_rollout import AttentionRollout
from xrec_plugins.explainers.kernel_shap import KernelShap
from xrec_plugins.explainers.leave_one_out import LeaveOneOut

INSTALLED = [listing.name for listing in listings("explainer") if listing.package == "xrec"]
#: Options that make an explainer quick, where its own are for models in earnest.
QUICK: dict[str, dict[str, Any]] = {
    "captum_kernel_shap": {"evaluations": 64},
    "kernel_shap": {"evaluations": 130},
    "lime": {"evaluations": 64},
    "permutation_shap": {"permutations": 2},
    "shapley_sampling": {"permutations": 4},
    "within_budget": {"latency_ms": 20, "fidelity": 0.5},  # it has no defaults, and is exempt
}


@pytest.mark.parametrize("name", INSTALLED)
def test_every_explainer_passes_or_is_excused(name: str) -> None:
    try:
        explainer = factory("explainer", name)(**QUICK.get(name, {}))
    except PluginError as error:
        pytest.skip(str(error))
    check_gates(explainer)


# What is broken

Change = Callable[[Recommender, Inputs, Explanation], Explanation | None]
SOUND = KernelShap(evaluations=130)  # all coalitions of the toys' seven features


@dataclass
class Spoilt:
    """A sound explainer, and then one thing more."""

    change: Change

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        told = SOUND.explain(model, inputs, target)
        return self.change(model, inputs, told) or told


@dataclass
class OneOrder:
    """What each feature adds as they come in, from the first slot to the last."""

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        slots = inputs.present.shape[1]
        with probe(model) as cost:
            game = Game(model, inputs, target)
            first = torch.ones(slots + 1, slots).tril(-1).bool()
            values = game.value(first.expand(len(inputs), -1, -1)).diff(dim=1)
            score, base = game.everything(), game.nothing()
        return Explanation.of(inputs, values, score, base, cost, "one_order")


class Growing:
    """Each call says a little more than the one before."""

    calls = 0

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        self.calls += 1
        told = SOUND.explain(model, inputs, target)
        return replace(told, values=told.values * (1 + 2e-5 * self.calls))


def shuffles(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    values = told.values.clone()
    for row, mine in enumerate(inputs.players):
        values[row, mine] = told.values[row, mine].roll(1)
    return replace(told, values=values)


def flips(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=-told.values)


def evens_out(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    share = told.values.sum(1) / inputs.players.sum(1)
    return replace(told, values=share[:, None] * inputs.players)


def counts_slots(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation | None:
    odd = inputs.present.shape[1] % 2  # as three more columns of padding change it
    sequential = not isinstance(model, LinearToy)
    return replace(told, values=told.values * (1 + odd)) if sequential else None


def values_padding(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=torch.where(inputs.present, told.values, 0.5))


def looks_at_the_batch(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=told.values * (1 if len(inputs) == 3 else 1.1))


def looks_at_the_place(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    late = torch.arange(len(inputs)) > 2
    return replace(told, values=told.values * (1 + late[:, None]))


def leaves_gradients(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    model.score(inputs).sum().backward()


def thaws(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    model.requires_grad_(True)


def learns(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    list(model.parameters())[-1].data.add_(1e-6)


def asks_for_gradients(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    inputs.values.requires_grad_(True)


def evaluates(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    model.eval()


def draws_from_torch(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    torch.rand(())


def draws_from_numpy(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    np.random.random()


def seeds_numpy(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    np.random.seed(0)


def is_not_a_number(model: Recommender, inputs: Inputs, told: Explanation) -> Explanation:
    return replace(told, values=told.values * torch.nan)


def nothing(model: Recommender, inputs: Inputs, told: Explanation) -> None:
    pass


AXIOMS = {"linear", "completeness", "symmetry", "dummy"}


@pytest.mark.parametrize(
    ("explainer", "expected"),
    [
        (Spoilt(nothing), set()),
        (LeaveOneOut(), {"completeness"}),
        (OneOrder(), {"symmetry"}),
        (Spoilt(shuffles), {"linear", "symmetry", "dummy"}),
        (Spoilt(flips), {"linear", "completeness"}),
        (Spoilt(evens_out), {"linear", "dummy"}),
        (Spoilt(counts_slots), {"padding"}),
        (Spoilt(looks_at_the_batch), {"batch"}),
        (Spoilt(looks_at_the_place), {"batch"}),
        (Spoilt(leaves_gradients), {"gradients"}),
        (Spoilt(thaws), {"gradients"}),
        (Spoilt(learns), {"gradients"}),
        (Spoilt(asks_for_gradients), {"gradients", "determinism"}),
        (Spoilt(evaluates), {"mode"}),
        (Spoilt(draws_from_torch), {"determinism"}),
        (Spoilt(draws_from_numpy), {"determinism"}),
        (Spoilt(seeds_numpy), {"determinism"}),
        (Growing(), {"determinism"}),
        (Spoilt(is_not_a_number), {*AXIOMS, "batch", "padding", "determinism"}),
    ],
    ids=lambda each: getattr(getattr(each, "change", each), "__name__", type(each).__name__),
)
def test_each_fault_is_caught_by_its_gate_alone(explainer: Explainer, expected: set[str]) -> None:
    outcomes = gates(Bare(explainer))
    assert list(outcomes) == list(GATES)
    assert {name for name, told in outcomes.items() if told != "passed"} == expected
    assert all(told.startswith("failed: ") for told in outcomes.values() if told != "passed")


@dataclass
class Bare:
    """An explainer without its excuses."""

    inner: Explainer

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        return self.inner.explain(model, inputs, target)


@pytest.mark.parametrize(
    ("gate", "explainer", "complaint"),
    [
        ("linear", Spoilt(flips), "contributions to a linear model are not what its terms are"),
        ("completeness", Spoilt(flips), "contributions do not sum to score - base: they differ by"),
        ("symmetry", OneOrder(), "twins do not get the same"),
        ("dummy", Spoilt(evens_out), "features that the model ignores got something"),
        ("batch", Spoilt(looks_at_the_batch), "a row alone is explained in another way"),
        ("batch", Spoilt(looks_at_the_place), "in another way where it stands elsewhere"),
        ("padding", Spoilt(counts_slots), "padding changes what is said"),
        ("padding", Spoilt(values_padding), "padding was given a value"),
        ("determinism", Growing(), "asked twice, it says two things"),
        ("determinism", Spoilt(draws_from_torch), "torch's generator was moved"),
        ("determinism", Spoilt(seeds_numpy), "numpy's generator was moved"),
        ("mode", Spoilt(evaluates), "the model's mode was changed"),
        ("gradients", Spoilt(leaves_gradients), "parameters were left with gradients"),
        ("gradients", Spoilt(thaws), "parameters were left frozen, or thawed"),
        ("gradients", Spoilt(learns), "the parameter .* was changed"),
        ("gradients", Spoilt(asks_for_gradients), "the inputs were left asking for a gradient"),
    ],
)
def test_a_gate_says_what_is_wrong(gate: str, explainer: Explainer, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        GATES[gate](explainer)


# Excuses


def test_an_excuse_is_told_with_its_reason_and_only_where_it_is_needed() -> None:
    class Excused(LeaveOneOut):
        excused: ClassVar[Mapping[str, str]] = {"completeness": "no claim", "mode": "no reason"}

    outcomes = gates(Excused())
    assert outcomes["completeness"] == "excused: no claim"
    assert outcomes["mode"] == "passed"
    check_gates(Excused())


def test_what_fails_without_an_excuse_is_named_with_all_else_that_fails() -> None:
    said = r"Spoilt fails gates: linear: contributions .*; completeness: contributions do not sum"
    with pytest.raises(AssertionError, match=said):
        check_gates(Spoilt(flips))


def test_an_explainer_that_cannot_explain_may_be_excused() -> None:
    class Unexcused(AttentionRollout):
        excused: ClassVar[dict[str, str]] = {}

    assert gates(Unexcused())["linear"].startswith("failed: explainer 'attention_rollout': ")
    assert gates(AttentionRollout())["linear"].startswith("excused: it says where")
    with pytest.raises(
        AssertionError, match=r"linear: .*; completeness: .*; symmetry: .*; dummy: "
    ):
        check_gates(Unexcused())


def test_nothing_excuses_what_is_broken() -> None:
    class Broken(LeaveOneOut):
        excused: ClassVar[dict[str, str]] = dict.fromkeys(GATES, "it is what it is")

        def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
            raise KeyError("lost")

    assert set(gates(Broken()).values()) == {"failed: KeyError: 'lost'"}


def test_an_excuse_from_no_gate_is_refused() -> None:
    class Astray(LeaveOneOut):
        excused: ClassVar[dict[str, str]] = {"simetry": "a slip"}

    with pytest.raises(AssertionError, match="there is no gate 'simetry', only linear, "):
        gates(Astray())


# Those that learn, and those that choose


@dataclass
class Learner:
    """It explains only the model that it was fitted to."""

    fitted: list[Recommender] = field(default_factory=list)

    def fit(self, model: Recommender, data: Data) -> dict[str, Any]:
        assert data is model.data_module
        with torch.no_grad():
            model.score(model.embed(data.windows().rows(slice(0, 2))))  # what fitting asks of it
        self.fitted.append(model)
        return {}

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: Mapping[str, Tensor], model: Recommender, data: Data) -> None:
        self.fit(model, data)

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        if self.fitted != [model]:
            raise XrecError("fit it first")
        return SOUND.explain(model, inputs, target)


def test_one_that_learns_is_fitted_to_each_world_and_itself_left_alone() -> None:
    learner = Learner()
    assert isinstance(learner, Trained)
    check_gates(learner)
    assert learner.fitted == []


def test_one_that_chooses_is_exempt() -> None:
    class Chooser(LeaveOneOut):
        def choose(self, measured: Mapping[str, Any]) -> str:
            return "none"

    assert isinstance(Chooser(), Choosing)
    outcomes = gates(Chooser())
    assert set(outcomes.values()) == {"excused: it explains by another, whose gates are its own"}


# The worlds themselves


@pytest.mark.parametrize("deaf", [(), (1,), (2, 3)])
def test_the_linear_toy_is_known_in_closed_form(deaf: tuple[int, ...]) -> None:
    data = small_data(history=4)
    model = LinearToy(data, deaf)
    with torch.no_grad():
        inputs = model.embed(data.queries("test", torch.arange(1, 4)))
        said = torch.where(inputs.players, model.said(inputs), 0)
        assert torch.allclose(said.double(), exact_shapley(model, inputs), atol=1e-6)
    assert (inputs.players.sum(1) < 7).any()
    assert (~inputs.present).any()


def test_the_bent_toy_interacts_and_is_not_flat() -> None:
    data = small_data(history=4)
    model = BentToy(data)
    with torch.no_grad():
        inputs = model.embed(data.queries("test", torch.arange(1, 4)))
    exact = exact_shapley(model, inputs)
    alone = LeaveOneOut().explain(model, inputs, lambda m, i: m.score(i)).values
    assert (exact - alone).abs().amax(1).min() > 0.05
    assert exact.abs().amax(1).min() > 0.1


def test_a_toy_s_candidate_can_be_exchanged() -> None:
    data = small_data(history=4)
    model, batch = LinearToy(data), data.queries("test", torch.arange(1, 4))
    with torch.no_grad():
        inputs, items = model.embed(batch), torch.tensor([3, 4, 5])
        found = model.exchanged(inputs, items)
        assert torch.equal(model.score(found), model(batch.about(items)))
        assert found.features.name(0, -1) == data.titles[3]
        both = model.choices(inputs, torch.stack([batch.candidate, items], dim=1))
    assert torch.allclose(both[:, 0], model.score(inputs))
    assert torch.allclose(both[:, 1], model.score(found))
