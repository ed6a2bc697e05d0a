"""The gates let through what is sound, and each catches its fault; every explainer faces them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from testing.broken import (
    SOUND,
    Bare,
    Growing,
    OneOrder,
    Spoilt,
    asks_for_gradients,
    counts_slots,
    draws_from_numpy,
    draws_from_torch,
    evaluates,
    evens_out,
    flips,
    is_not_a_number,
    learns,
    leaves_gradients,
    looks_at_the_batch,
    looks_at_the_place,
    nothing,
    seeds_numpy,
    shuffles,
    thaws,
    values_padding,
)
from torch import Tensor

from xrec.data.module import Data
from xrec.errors import PluginError, XrecError
from xrec.explain.explainer import Choosing, Explainer, Trained
from xrec.explain.explanation import Explanation
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.plugins import factory, listings
from xrec.testing import GATES, check_gates, gates
from xrec_plugins.explainers.attention_rollout import AttentionRollout
from xrec_plugins.explainers.leave_one_out import LeaveOneOut

INSTALLED = [listing.name for listing in listings("explainer") if listing.package == "xrec"]
#: Options that make an explainer quick, where its own are for models in earnest.
QUICK: dict[str, dict[str, Any]] = {
    "captum_kernel_shap": {"evaluations": 64},
    "counterfactual": {"k": 2},  # of the five rivals that there are in these worlds
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
