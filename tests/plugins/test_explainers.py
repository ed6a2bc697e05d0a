"""What every installed explainer must keep, whatever it computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from explain.toys import random_toy
from torch import Tensor

from xrec.data.batches import Batch
from xrec.errors import PluginError
from xrec.explain.explainer import Explainer
from xrec.explain.explanation import Explanation
from xrec.explain.probe import probe
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.plugins import factory, listings
from xrec.testing import check_explainer, small_model

NAMES = [
    listing.name
    for listing in listings("explainer")
    if listing.package == "xrec" and listing.name != "within_budget"  # it speaks for others
]
#: Those that look at one row at a time, so that nothing about the others can matter.
ROWWISE = ["attention_rollout", "integrated_gradients", "kernel_shap", "leave_one_out", "recency"]


@pytest.fixture
def small() -> tuple[Recommender, Inputs]:
    """A model whose rows have 7 to 9 features: few enough that kernel_shap sees all coalitions."""
    return small_model(history=3, users=4)


def ready(name: str, model: Recommender) -> Explainer:
    try:
        explainer = factory("explainer", name)()
    except PluginError as error:
        pytest.skip(str(error))
    if hasattr(explainer, "fit"):
        explainer.fit(model, model.data_module)
    return explainer


def explained(name: str, model: Recommender, inputs: Inputs) -> Explanation:
    return ready(name, model).explain(model, inputs, logit)


def test_the_rowwise_are_installed() -> None:
    assert set(ROWWISE) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_contract(small, name: str) -> None:
    model, inputs = small
    check_explainer(ready(name, model), model, inputs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_leaves_the_model_in_its_mode(small, name: str, training: bool) -> None:
    model, inputs = small
    explainer = ready(name, model)
    model.train(training)
    learning = [parameter.requires_grad for parameter in model.parameters()]
    told = explainer.explain(model, inputs, logit)
    assert all(module.training is training for module in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == learning
    assert torch.equal(told.score, explainer.explain(model.eval(), inputs, logit).score)


@pytest.mark.parametrize("name", NAMES)
def test_leaves_inputs_and_global_generators_alone(small, name: str) -> None:
    model, inputs = small
    explainer = ready(name, model)
    values, present = inputs.values.clone(), inputs.present.clone()
    state, (_, keys, place, *_) = torch.get_rng_state(), np.random.get_state()
    explainer.explain(model, inputs, logit)
    assert torch.equal(inputs.values, values)
    assert torch.equal(inputs.present, present)
    assert not inputs.values.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], keys)
    assert np.random.get_state()[2] == place


@pytest.mark.parametrize("name", NAMES)
def test_tells_what_was_explained(small, name: str) -> None:
    model, inputs = small
    told = explained(name, model, inputs)
    with torch.no_grad():
        assert torch.allclose(told.score, model.score(inputs), atol=1e-5)
    assert told.base.shape == told.error.shape == (4,)
    assert torch.equal(told.present, inputs.players)
    assert told.explainer == name
    assert not any(t.requires_grad for t in (told.values, told.score, told.base, told.error))


@pytest.mark.parametrize("name", NAMES)
def test_cost_is_what_went_through_the_model(small, name: str) -> None:
    model, inputs = small
    explainer = ready(name, model)
    with probe(model) as spent:
        told = explainer.explain(model, inputs, logit)
    assert (told.cost.forward, told.cost.backward) == (spent.forward, spent.backward)
    assert told.cost.seconds > 0


@pytest.mark.parametrize("name", NAMES)
def test_explains_where_gradients_are_off(small, name: str) -> None:
    model, inputs = small
    explainer = ready(name, model)
    with torch.no_grad():
        told = explainer.explain(model, inputs, logit)
    assert torch.allclose(told.values, explainer.explain(model, inputs, logit).values, atol=1e-6)


def same(found: Tensor, expected: Tensor) -> None:
    assert torch.allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ROWWISE)
def test_a_row_alone_is_explained_as_among_others(small, name: str) -> None:
    model, inputs = small
    together = explained(name, model, inputs)
    for row in range(4):
        alone = explained(name, model, inputs.rows(slice(row, row + 1)))
        same(alone.values[0], together.values[row])
        same(alone.base[0], together.base[row])
    shuffled = torch.tensor([2, 0, 3, 1, 2])
    same(explained(name, model, inputs.rows(shuffled)).values, together.values[shuffled])


@pytest.mark.parametrize("name", ROWWISE)
def test_padding_changes_nothing(small, name: str) -> None:
    model, inputs = small
    batch: Batch = model.data_module.queries("test", torch.arange(1, 5))
    wide = {
        column: torch.nn.functional.pad(getattr(batch, column), (4, 0))
        for column in ("history", "history_time", "history_action")
    }
    with torch.no_grad():
        padded = model.embed(replace(batch, **wide))
    told = explained(name, model, padded)
    assert not told.values[:, :4].any()
    same(told.values[:, 4:], explained(name, model, inputs).values)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "attention_rollout"])
def test_works_for_any_model_and_for_a_row_without_features(name: str) -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=0)
    present = inputs.present.clone()
    present[1] = inputs.features.fixed[1]  # nothing but the fixed slot
    told = explained(name, model, inputs.with_present(present))
    assert not told.values[1].any()
    assert told.values[0].any()
    assert torch.equal(told.score[1], told.base[1])
