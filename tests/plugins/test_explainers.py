"""What every installed explainer must keep, whatever it computes; the gates are tested apart."""

from __future__ import annotations

import pytest
import torch
from explain.toys import random_toy

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
#: Options with which there is something to find in the small world, where the default has none.
OPTIONS = {"counterfactual": {"k": 6}}
#: Those that look into a model, have it embed a background, exchange items, or ask for texts, so
#: that not any toy will do.
INSIDE = [
    "amortised_shapley",
    "attention_rollout",
    "counterfactual",
    "gradient_rollout",
    "gradient_shap",
    "item_cosine",
    "layer_conductance",
]


@pytest.fixture
def small() -> tuple[Recommender, Inputs]:
    """A model whose rows have 7 to 9 features: few enough that kernel_shap sees all coalitions."""
    return small_model(history=3, users=4)


def ready(name: str, model: Recommender) -> Explainer:
    try:
        explainer = factory("explainer", name)(**OPTIONS.get(name, {}))
    except PluginError as error:
        pytest.skip(str(error))
    if hasattr(explainer, "fit"):
        explainer.fit(model, model.data_module)
    return explainer


def explained(name: str, model: Recommender, inputs: Inputs) -> Explanation:
    return ready(name, model).explain(model, inputs, logit)


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_contract(small, name: str) -> None:
    model, inputs = small
    check_explainer(ready(name, model), model, inputs)


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


@pytest.mark.parametrize("name", [name for name in NAMES if name not in INSIDE])
def test_works_for_any_model_and_for_a_row_without_features(name: str) -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=0)
    present = inputs.present.clone()
    present[1] = inputs.features.fixed[1]  # nothing but the fixed slot
    told = explained(name, model, inputs.with_present(present))
    assert not told.values[1].any()
    assert told.values[0].any()
    assert torch.equal(told.score[1], told.base[1])
