"""The planted rule: its score by hand, its contributions by enumeration, captum and the gates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
import torch
from explain.toys import exact_shapley
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec import Recipe, run
from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, ITEM, PROFILE
from xrec.data.module import Data
from xrec.errors import DataError
from xrec.explain.target import logit
from xrec.fidelity.truth import Analytic
from xrec.models.catalogue import score_each
from xrec.models.inputs import Inputs
from xrec.options import DataOptions, TrainOptions
from xrec.plugins import factory
from xrec.testing import check_model, small_data
from xrec.testing.world import SmallEncoder
from xrec_plugins.datasets.dresses import DRESSES, worn
from xrec_plugins.datasets.planted import CHOICES, DISTRACTOR, PlantedWorld, pull
from xrec_plugins.models.planted_rule import CAUSES, TIE, PlantedRule, PlantedRuleRecommender

#: What makes each cause alone worth something to look at.
ALONE = [
    ["affinity"],
    ["suppressor"],
    ["interest"],
    ["interaction"],
    ["affinity", "recency"],
    ["interaction", "interest"],
    list(CAUSES),
]


@pytest.fixture(scope="module")
def data() -> Data:
    world = PlantedWorld(users=40, items=200, events=20)
    return Data(world.load(), DataOptions(history=14), TrainOptions())


@pytest.fixture(scope="module")
def short() -> Data:
    """Histories of 5: with profile and candidate 8 players, few enough to enumerate."""
    world = PlantedWorld(users=40, items=200, events=20, dress="social")
    return Data(world.load(), DataOptions(history=5), TrainOptions())


def rule(data: Data, causes: Sequence[str] = CAUSES) -> PlantedRuleRecommender:
    """The rule in double precision."""
    encoder = SmallEncoder()
    model = PlantedRule(list(causes)).build(data, encoder.encode(data.texts), encoder)
    assert isinstance(model, PlantedRuleRecommender)
    return model.double().eval()


def pulled(data: Data, batch: Batch) -> Tensor:
    """(B,) the pull on each candidate, by the world's own function."""
    dress = worn(data)
    kinds, stated = np.array(dress.kinds(data)), dress.interests(data)
    found = []
    for row in range(len(batch)):
        events = batch.history[row][batch.history[row] > 0][-10:].numpy()
        mine = [stated[value] for value in batch.profile[row].tolist() if stated[value] >= 0]
        weight = 0.95 ** np.arange(len(events))[::-1]
        force = pull(kinds[events], weight, np.eye(CHOICES)[mine].sum(0))
        found.append([*force, 0.0][kinds[int(batch.candidate[row])]])
    return torch.tensor(found, dtype=torch.double)


# The score


def test_the_score_is_the_world_s_pull_but_for_what_parts_items_of_a_category(data: Data) -> None:
    model, batch = rule(data), data.queries("test")
    own = TIE * batch.candidate / len(data.items)
    assert torch.allclose(model(batch), pulled(data, batch) + own, atol=1e-9)
    assert model(batch).abs().max() > 2


def test_it_keeps_the_contract_of_a_model(data: Data) -> None:
    check_model(rule(data), data.queries("test", torch.arange(1, 7)))
    for dress in DRESSES:
        world = PlantedWorld(users=10, items=100, events=8, dress=dress)
        other = Data(world.load(), DataOptions(history=5), TrainOptions())
        check_model(rule(other, ["affinity"]), other.queries("test"))


def test_the_whole_catalogue_is_what_each_item_scores(data: Data) -> None:
    model, batch = rule(data), data.queries("test", torch.arange(1, 5))
    whole = model.catalogue(batch)
    assert torch.allclose(whole[:, 1:], score_each(model, batch)[:, 1:], atol=1e-12)
    assert all(len(row.unique()) == len(data.items) - 1 for row in whole[:, 1:])  # no ties


def test_what_is_wanted_by_the_rule_is_ranked_above_chance(data: Data) -> None:
    model, batch = rule(data), data.queries("test")
    kinds = torch.tensor(worn(data).kinds(data))
    caused = batch.rows(kinds[batch.candidate] != DISTRACTOR)
    said = model.catalogue(caused)[:, 1:]
    own = said.gather(1, caused.candidate[:, None] - 1)
    assert float((said < own).double().mean()) > 0.7  # of a rule that knows nothing, a half


def test_recency_is_by_the_place_in_the_history_not_among_those_present(data: Data) -> None:
    model = rule(data, ["affinity", "recency"])
    inputs = model.embed(data.queries("test"))
    alone = []
    for slot in range(14):
        only = torch.zeros_like(inputs.present)
        only[:, [slot, -1]] = True
        alone.append(model.score(inputs.with_present(only)) - _tie(inputs))
    assert torch.stack(alone[:4]).abs().max() < 1e-9  # older than the ten that can matter
    assert torch.stack(alone[4:]).abs().amax(1).min() > 0.1
    whole = model.score(inputs) - _tie(inputs)
    assert torch.allclose(torch.stack(alone).sum(0), whole, atol=1e-7)


def _tie(inputs: Inputs) -> Tensor:
    assert inputs.item is not None
    return TIE * inputs.item / 201


def test_without_recency_the_last_ten_weigh_the_same(data: Data) -> None:
    assert torch.equal(rule(data, ["affinity"]).recency.data, torch.ones(10).double())
    assert rule(data).recency.tolist() == pytest.approx([0.95**back for back in range(10)])


# The contributions


@pytest.mark.parametrize("causes", ALONE, ids="+".join)
def test_contributions_are_exact_shapley_by_enumeration(short: Data, causes: list[str]) -> None:
    model = rule(short, causes)
    inputs = model.embed(short.queries("test", torch.arange(1, 6)))
    inputs = about_something(model, inputs)
    fewer = inputs.present.clone()
    fewer[0, 3] = fewer[1, 5] = False  # what is absent is no player
    for each, absent in ((inputs, "remove"), (inputs.with_present(fewer), "baseline")):
        found = model.contributions(each)
        assert torch.allclose(found, exact_shapley(model, each, absent), atol=1e-12)
    assert found.abs().max() > 0.2


def about_something(model: PlantedRuleRecommender, inputs: Inputs) -> Inputs:
    """The same users with the item that the model likes or dislikes most."""
    batch = model.data_module.queries("test", torch.arange(1, 1 + len(inputs)))
    return model.exchanged(inputs, model.catalogue(batch).abs().argmax(1))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.integers(1, 200))
def test_of_any_history_they_are_each_product_shared_by_its_slots(
    short: Data, items: list[int], candidate: int
) -> None:
    """Against the sum over all products, written out."""
    model = rule(short)
    history = torch.zeros(1, 5, dtype=torch.long)
    history[0, -len(items) :] = torch.tensor(items)
    batch = short.queries("test", torch.tensor([1]))
    batch = Batch(batch.user, history, history, history, batch.profile, torch.tensor([candidate]))
    inputs = model.embed(batch)
    found = model.contributions(inputs)
    assert torch.allclose(found[0], _written_out(short, inputs), atol=1e-12)
    assert torch.allclose(found.sum(1), model.score(inputs), atol=1e-12)


def _written_out(data: Data, inputs: Inputs) -> Tensor:
    """(F,) of the first row: a loop over products, by the numbers of the world's docstring."""
    dress, found = worn(data), torch.zeros(inputs.present.shape[1], dtype=torch.double)
    kinds, stated = dress.kinds(data), dress.interests(data)
    last = len(found) - 1
    assert inputs.item is not None
    towards, key = kinds[int(inputs.item[0])], inputs.features.key[0].tolist()
    found[last] += TIE * int(inputs.item[0]) / len(data.items)
    if towards == DISTRACTOR:
        return found
    events = [
        (slot, kinds[key[slot]], 0.95 ** (4 - slot)) for slot in range(5) if inputs.present[0, slot]
    ]
    steps = {0: -0.6, 1: 1.5, 4: -1.5}
    for slot, kind, weight in events:
        worth = weight * steps.get((towards - kind) % 9, 0.0) if kind != DISTRACTOR else 0.0
        for each in (slot, last):
            found[each] += worth / 2
    for (first, a, v), (second, b, w) in combinations(events, 2):
        if (min(a, b), max(a, b), towards) in [(0, 2, 6), (3, 5, 0), (6, 8, 3)]:
            for each in (first, second, last):
                found[each] += v * w / 3
    for slot in range(5, last):
        if inputs.present[0, slot] and stated[key[slot]] == towards:
            for each in (slot, last):
                found[each] += 3.0 / 2
    return found


@pytest.mark.parametrize("causes", [["affinity", "recency"], list(CAUSES)], ids="+".join)
def test_integrated_gradients_of_captum_say_the_same(data: Data, causes: list[str]) -> None:
    captum = pytest.importorskip("captum.attr")
    model = rule(data, causes)
    inputs = model.embed(data.queries("test", torch.arange(1, 6)))

    def score(values: Tensor) -> Tensor:
        return model.score(inputs.with_values(values))

    method = captum.IntegratedGradients(score)
    told = method.attribute(
        inputs.values, n_steps=8, method="gausslegendre", internal_batch_size=len(inputs)
    ).sum(-1)
    assert torch.allclose(told, model.contributions(inputs), atol=1e-9)


@pytest.mark.parametrize("name", ["integrated_gradients", "exact_shapley"])
def test_the_explainers_that_should_say_the_same(short: Data, name: str) -> None:
    model = rule(short)
    inputs = model.embed(short.queries("test", torch.arange(1, 6)))
    told = factory("explainer", name)().explain(model, inputs, logit)
    assert torch.allclose(told.values, model.contributions(inputs), atol=1e-6)


@pytest.mark.parametrize("causes", ALONE, ids="+".join)
def test_what_never_matters_gets_exactly_nothing(data: Data, causes: list[str]) -> None:
    model = rule(data, causes)
    batch = data.queries("test")
    inputs, kinds = model.embed(batch), torch.tensor(worn(data).kinds(data))
    found, group = model.contributions(inputs), inputs.features.group
    wrap = (group == BEHAVIOUR) & (kinds[inputs.features.items] == DISTRACTOR)
    assert (wrap & inputs.present).any()
    assert not found[wrap].any()
    assert not found[:, :4].any()  # older than the ten that can matter
    colour = torch.tensor([name.startswith("favourite_colour") for name in data.profile.names])
    taste = (group == PROFILE) & colour[torch.where(group == PROFILE, inputs.features.key, 0)]
    assert taste.any()
    assert not found[taste].any()
    of_wrap = kinds[batch.candidate] == DISTRACTOR
    assert of_wrap.any()
    assert not found[of_wrap][:, :-1].any()
    assert not found[~inputs.present].any()


def test_only_the_causes_that_are_named_count(data: Data) -> None:
    whole = rule(data)
    inputs = whole.embed(data.queries("test"))
    named = [cause for cause in CAUSES if cause != "recency"]
    parts = sum(rule(data, [cause, "recency"]).contributions(inputs) for cause in named)
    parts[:, -1] -= 3 * _tie(inputs)  # which is in all four
    assert torch.allclose(parts, whole.contributions(inputs), atol=1e-9)
    alone = rule(data, ["interest"]).contributions(inputs)
    events = inputs.features.group == BEHAVIOUR
    assert not alone[events].any()
    assert alone[inputs.features.group == PROFILE].any()


def test_it_is_known_in_closed_form_whatever_its_weights(short: Data) -> None:
    """As after a check of sanity that draws its weights anew."""
    model = rule(short)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        assert not parameter.requires_grad
        parameter.data = torch.randn(parameter.shape, generator=generator).double()
    inputs = model.embed(short.queries("test", torch.arange(1, 4)))
    found = model.contributions(inputs)
    assert torch.allclose(found, exact_shapley(model, inputs), atol=1e-10)
    assert isinstance(model, Analytic)


def test_the_score_depends_on_every_weight_by_its_gradient(data: Data) -> None:
    model = rule(data)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    with torch.no_grad():
        inputs = model.embed(data.queries("test"))
    slopes = torch.autograd.grad(model.score(inputs).sum(), list(model.parameters()))
    assert all(slope.any() for slope in slopes)
    assert {name for name, _ in model.named_parameters()} == {
        "affinity",
        "suppressor",
        "together",
        "interest",
        "recency",
        "tie",
    }


def test_slots_that_are_no_events_have_no_item(data: Data) -> None:
    inputs = rule(data).embed(data.queries("test", torch.arange(1, 3)))
    features = inputs.features
    assert not features.items[features.group != BEHAVIOUR].any()
    assert torch.equal(features.items[:, :14], features.key[:, :14])
    names = [features.name(0, slot) for slot in range(14, features.group.shape[1])]
    kinds = worn(data).kinds(data)
    assert inputs.item is not None
    assert names[-1] == f"category: {worn(data).categories[kinds[int(inputs.item[0])]]}"
    assert features.group[0, -1] == ITEM


# What it refuses, and a run of it


def test_it_refuses_data_that_are_no_planted_world() -> None:
    with pytest.raises(DataError, match="these data are no planted world"):
        rule(small_data())


@pytest.mark.parametrize(
    ("causes", "sentence"),
    [
        (["afinity"], "causes has 'afinity': did you mean 'affinity'"),
        ([], "causes names nothing that pulls"),
        (["recency"], "causes names nothing that pulls"),
    ],
)
def test_it_refuses_causes_that_are_none(causes: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PlantedRule(causes)


def test_a_run_has_nothing_to_train_and_judges_by_the_closed_form(tmp_path) -> None:
    told: list[str] = []
    recipe = Recipe.of(
        {
            "name": "rule",
            "data": {"dataset": "planted", "dress": "video", "users": 40, "history": 10},
            "encoder": {"name": "hashed", "size": 8},
            "model": "planted_rule",
            "train": {"keep": 2},
            "explain": ["integrated_gradients", "item_cosine", "popularity"],
            "fidelity": ["planted_truth", "completeness"],
            "protocol": {"users": 8, "repeats": 1, "batch": 2},
            "report": {"explained": 1},
        }
    )
    done = run(recipe, tmp_path, told.append)
    training = done.store.json("training.json")
    assert (training["epochs"], training["learning"]) == ([], 0)
    assert "  nothing of the model learns: its weights stay as they are" in told
    measures = {
        name: done.store.json(f"fidelity/{name}.json")["measures"]
        for name in ("integrated_gradients", "item_cosine", "popularity")
    }
    assert measures["integrated_gradients"]["planted_precision"]["mean"] == 1.0
    for floor in ("item_cosine", "popularity"):
        assert measures[floor]["planted_precision"]["mean"] < 0.8
    report = (done.folder / "report.html").read_text()
    assert "none of them learned) was set up for the planted data" in report
    assert "there was nothing to train" in report
    again: list[str] = []
    run(recipe, tmp_path, again.append)
    assert "train: done before" in again
