"""The sequential model: its contract, catalogue, loss (by a loop), slots and attention."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, FIXED, ITEM, PROFILE
from xrec.data.module import Data
from xrec.models.catalogue import score_each
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import check_model, small_data, small_model
from xrec.testing.world import SmallEncoder
from xrec_plugins.models.sequential import Sequential, SequentialRecommender

SHAPES = {
    "default": {"width": 8},
    "one head": {"width": 6, "heads": 1, "layers": 1},
    "deep": {"width": 12, "heads": 4, "layers": 3},
    "all dropped": {"width": 8, "dropout": 0.9},
    "narrow": {"width": 1, "heads": 1},
    "similar": {"width": 8, "start": "similar"},
}


def _data(history: int = 6, profile: bool = True, attributes: bool = True) -> Data:
    """The small world, without its profile or its items' attributes if so asked."""
    data = small_data(history=history)
    tables = data.tables
    if not profile:
        tables = tables.replace(users=tables.users.select("user"))
    if not attributes:
        tables = tables.replace(items=tables.items.select("item", "title", "text"))
    return Data(tables, data.options, data.train, data.seed)


def _model(data: Data, seed: int = 0, **options: object) -> SequentialRecommender:
    """An untrained model whose every parameter matters, in evaluation mode."""
    torch.manual_seed(seed)
    model = Sequential(**{"width": 8, **options}).build(  # type: ignore[arg-type]
        data, torch.randn(len(data.items), 5), SmallEncoder()
    )
    assert isinstance(model, SequentialRecommender)
    with torch.no_grad():
        for layer in model.layers:  # distances begin at zero, where they could hide a mistake
            layer.distance.weight.normal_()
        model.heads[0].bias.fill_(0.3)
        model.views.gate.weight.normal_()  # nor do the views' weights
    return model.eval()


def _all_queries(data: Data) -> Batch:
    return data.queries("test")


# The contract


@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_the_contract_in_several_shapes(options: dict):
    model, _ = small_model(name="sequential", **options)
    check_model(model, _all_queries(model.data_module))


@pytest.mark.parametrize("history", [1, 2, 12])
@pytest.mark.parametrize(("profile", "attributes"), [(True, False), (False, True), (False, False)])
def test_the_contract_with_less_to_go_by(history: int, profile: bool, attributes: bool):
    model = _model(_data(history, profile, attributes))
    check_model(model, _all_queries(model.data_module))


def test_the_contract_where_there_is_no_history():
    model = _model(_data())
    batch = _all_queries(model.data_module).rows(slice(0, 3))
    none = torch.zeros_like(batch.history)
    check_model(model, replace(batch, history=none, history_time=none, history_action=none))


@pytest.mark.parametrize(
    "options",
    [{"width": 9, "heads": 2}, {"width": 0}, {"heads": 0}, {"layers": 0}, {"dropout": 1.0}],
)
def test_options_that_make_no_model_are_refused(options: dict):
    with pytest.raises(ValueError):
        Sequential(**options)


# The catalogue


@pytest.mark.parametrize(("profile", "attributes"), [(True, True), (True, False), (False, True)])
def test_the_catalogue_is_each_item_scored_by_itself(profile: bool, attributes: bool):
    model = _model(_data(profile=profile, attributes=attributes))
    batch = _all_queries(model.data_module)
    with torch.no_grad():
        whole = model.catalogue(batch)
        assert whole.shape == (len(batch), len(model.data_module.items))
        for item in range(len(model.data_module.items)):
            about = batch.about(torch.full_like(batch.candidate, item))
            expected = model.score(model.embed(about))
            assert torch.allclose(whole[:, item], expected, atol=1e-5)


def test_the_catalogue_does_not_depend_on_the_batchs_candidate():
    model = _model(_data())
    batch = _all_queries(model.data_module)
    with torch.no_grad():
        other = model.catalogue(batch.about(torch.ones_like(batch.candidate)))
        assert other.equal(model.catalogue(batch))


def test_the_catalogue_is_that_of_the_fallback():
    model = _model(_data())
    batch = _all_queries(model.data_module)
    with torch.no_grad():
        assert torch.allclose(model.catalogue(batch), score_each(model, batch), atol=1e-5)


def test_padding_is_no_candidate():
    model = _model(_data())
    batch = _all_queries(model.data_module)
    inputs = model.embed(batch.about(torch.zeros_like(batch.candidate)))
    assert not inputs.present[inputs.features.group == ITEM].any()
    assert torch.allclose(model.score(inputs), model.heads[0].bias.expand(len(batch)))


# The loss: one pass over a window is the same as a loop over its prefixes


def _prefix(window: Batch, row: int, at: int) -> Batch:
    """One row's events before position `at`, as a query of its own."""
    one = window.rows(slice(row, row + 1))
    return Batch(
        user=one.user,
        history=one.history[:, :at],
        history_time=one.history_time[:, :at],
        history_action=one.history_action[:, :at],
        profile=one.profile,
        candidate=one.history[:, at],
    )


def _looped_loss(model: Recommender, window: Batch) -> Tensor:
    """Score each learned event after its prefix, and the row's negatives in its place."""
    assert window.learned is not None
    assert window.negatives is not None
    terms = []
    for row, at in window.learned.nonzero().tolist():
        prefix, rivals = _prefix(window, row, at), window.negatives[row]
        positive = model(prefix)
        many = prefix.rows(torch.zeros(len(rivals), dtype=torch.long)).about(rivals)
        negative = model(many)
        good = functional.binary_cross_entropy_with_logits(positive, torch.ones_like(positive))
        bad = functional.binary_cross_entropy_with_logits(negative, torch.zeros_like(negative))
        terms.append((good + bad) / 2)
    return torch.stack(terms).mean()


@pytest.mark.parametrize("shape", ["default", "one head", "deep"])
@pytest.mark.parametrize("history", [3, 6, 12])
def test_one_pass_is_a_loop_over_prefixes(shape: str, history: int):
    """Value and every parameter's gradient, with windows that are padded and that overlap."""
    model = _model(_data(history), **SHAPES[shape]).double()
    window = next(iter(model.data_module.train_dataloader()))
    losses = [model.loss(window)["click"], _looped_loss(model, window)]
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-10)
    parameters = dict(model.named_parameters())
    gradients = [torch.autograd.grad(loss, parameters.values()) for loss in losses]
    for name, one, other in zip(parameters, *gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-10), name


def test_the_loss_of_a_model_without_profile_or_attributes():
    model = _model(_data(4, profile=False, attributes=False)).double()
    window = next(iter(model.data_module.train_dataloader()))
    expected = _looped_loss(model, window).item()
    assert model.loss(window)["click"].item() == pytest.approx(expected, abs=1e-10)


def _window(history: list[list[int]]) -> Batch:
    """Windows of the small world with given histories."""
    items = torch.tensor(history)
    users = torch.arange(1, len(items) + 1)
    data = small_data()
    return Batch(
        user=users,
        history=items,
        history_time=items,
        history_action=(items > 0).long(),
        profile=data.profile.values[users],
        candidate=items[:, -1],
        negatives=torch.tensor([[1, 15]]).expand(len(items), -1),
        learned=items > 0,
        truth=torch.ones(*items.shape, 1),
    )


def _loss_at(model: Recommender, window: Batch, at: int) -> float:
    """The loss of one event of a single window."""
    only = torch.zeros_like(window.history, dtype=torch.bool)
    only[:, at] = True
    with torch.no_grad():
        return float(model.loss(replace(window, learned=only))["click"])


CAUSAL = _model(small_data(), layers=3).double()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 15), min_size=6, max_size=6),
    st.integers(0, 4),
    st.integers(1, 5),
    st.integers(1, 15),
)
def test_no_query_hears_of_a_later_event(history: list[int], at: int, later: int, other: int):
    position = min(5, at + later)
    changed = [*history]
    changed[position] = other
    before, after = _window([history]), _window([changed])
    assert _loss_at(CAUSAL, before, at) == pytest.approx(_loss_at(CAUSAL, after, at), abs=1e-12)


def test_a_query_hears_of_every_earlier_event():
    history = [3, 4, 5, 6, 7, 8]
    before = _loss_at(CAUSAL, _window([history]), 5)
    for at in range(5):
        changed = [*history]
        changed[at] = 12
        assert abs(_loss_at(CAUSAL, _window([changed]), 5) - before) > 1e-6, at


@pytest.mark.parametrize("layers", [1, 2])
def test_the_order_of_events_counts(layers: int):
    """With one layer, too, where only the distance to the query can tell the order."""
    model = _model(small_data(), layers=layers).double()
    one, other = _window([[3, 4, 5, 6, 7, 8]]), _window([[4, 3, 5, 6, 7, 8]])
    assert abs(_loss_at(model, one, 5) - _loss_at(model, other, 5)) > 1e-6


def test_every_parameter_learns():
    model = _model(_data())
    losses = [model.loss(batch)["click"] for batch in model.data_module.train_dataloader()]
    torch.stack(losses).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert (model.kind.weight.grad.abs().sum(1) > 0).all()  # of events, of profile values
    for table in (model.views.identity, model.views.attribute, model.profile):
        assert (table.weight.grad[0] == 0).all()
        assert (table.weight[0] == 0).all()


def test_training_fits_what_it_is_shown():
    model = _model(_data(), width=16, dropout=0.0).train()
    window = next(iter(model.data_module.train_dataloader()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    first = model.loss(window)["click"].item()
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(window)["click"].backward()
        optimizer.step()
    assert model.loss(window)["click"].item() < first / 4


# Slots: their names, their presence, their gradients


def test_slots_are_called_by_what_they_are():
    data = _data()
    model, batch = _model(data), data.queries("test")
    inputs = model.embed(batch)
    events, profile = data.options.history, len(data.profile.fields)
    genres = dict(zip(data.tables.items["item"], data.tables.items["genre"], strict=True))
    users = {row["user"]: row for row in data.tables.users.to_dicts()}
    assert inputs.values.shape == (len(batch), events + profile + 1 + 2 + 2, 8)
    for row in range(len(batch)):
        told = [
            (int(inputs.features.group[row, slot]), inputs.features.name(row, slot))
            for slot in range(inputs.present.shape[1])
            if inputs.present[row, slot]
        ]
        expected = [(BEHAVIOUR, data.titles[item]) for item in batch.history[row].tolist() if item]
        user = users[data.users.ids[int(batch.user[row])]]
        expected += [
            (PROFILE, f"{name}: {user[name]}") for name in ("age", "town") if user[name] is not None
        ]
        expected += [(FIXED, "query"), (ITEM, "text"), (ITEM, "identity")]
        genre = genres[data.items.ids[int(batch.candidate[row])]]
        expected += [(ITEM, f"genre: {name}") for name in genre]
        assert sorted(told) == sorted(expected)
    assert inputs.features.fixed.sum(1).eq(1).all()
    assert (inputs.features.parent == -1).all()


def test_padding_and_unknown_values_are_absent():
    data = _data()
    batch = data.queries("test")
    inputs = _model(data).embed(batch)
    events = data.options.history
    assert inputs.present[:, :events].equal(batch.history > 0)
    assert inputs.present[:, events : events + 2].equal(batch.profile > 0)
    unknown = data.tables.users.filter(pl.col("town").is_null())["user"].to_list()
    rows = [row for row, user in enumerate(batch.user) if data.users.ids[user] in unknown]
    assert rows
    assert not inputs.present[rows, events + 1].any()


def test_gradients_flow_to_present_slots_alone():
    model = _model(_data())
    inputs = model.embed(_all_queries(model.data_module))
    values = inputs.values.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.score(inputs.with_values(values)).sum(), values)
    size = gradient.abs().sum(-1)
    assert (size[inputs.present] > 0).all()
    assert (size[~inputs.present] == 0).all()


def test_a_score_is_linear_in_the_candidates_slots():
    """The logit is state · item, so that leaving a view out takes its own product away."""
    model = _model(_data()).double()
    inputs = model.embed(_all_queries(model.data_module))
    views = inputs.features.group == ITEM
    with torch.no_grad():
        none = model.score(inputs.with_present(inputs.present & ~views))
        assert torch.allclose(none, model.heads[0].bias.expand(len(inputs)), atol=1e-12)
        total = torch.zeros(len(inputs), dtype=torch.double)
        for slot in views[0].nonzero().flatten().tolist():
            only = torch.zeros_like(views)
            only[:, slot] = True
            total += model.score(inputs.with_present(inputs.present & (~views | only))) - none
        assert torch.allclose(total, model.score(inputs) - none, atol=1e-10)


# Attention


def _attention(model: SequentialRecommender, inputs: Inputs) -> list[Tensor]:
    with torch.no_grad():
        return model.attend(inputs)


@pytest.mark.parametrize("shape", ["default", "one head", "deep"])
def test_attention_is_a_share_of_what_is_present(shape: str):
    model = _model(_data(), **SHAPES[shape])
    inputs = model.embed(_all_queries(model.data_module))
    rows, slots = inputs.present.shape
    maps = _attention(model, inputs)
    assert len(maps) == len(model.layers)
    heads = model.layers[0].heads
    for attention in maps:
        assert attention.shape == (rows, heads, slots, slots)
        assert (attention >= 0).all()
        assert torch.allclose(attention.sum(-1), torch.ones(rows, heads, slots), atol=1e-6)
        looks = inputs.present[:, None, :, None].expand_as(attention)
        absent = ~inputs.present[:, None, None, :].expand_as(attention)
        assert (attention[looks & absent] == 0).all()


def test_who_looks_at_whom():
    """Events at earlier events and the profile; the profile at itself; the query at all of them."""
    data = _data()
    model = _model(data)
    batch = data.queries("test")
    full = (batch.history > 0).all(1) & (batch.profile > 0).all(1)
    assert full.any()
    inputs = model.embed(batch.rows(full.nonzero().flatten()))
    events, last = data.options.history, data.options.history + 2
    expected = torch.eye(inputs.present.shape[1], dtype=torch.bool)
    expected[:events, :events] = torch.ones(events, events).tril().bool()
    expected[: last + 1, events:last] = True
    expected[last, : last + 1] = True
    present = inputs.present[:, None, :, None] & inputs.present[:, None, None, :]
    for attention in _attention(model, inputs):
        looks = (attention > 0) & present
        assert looks.equal((expected & present).expand_as(attention))


def test_a_removed_slot_is_looked_at_no_more():
    model = _model(_data())
    inputs = model.embed(_all_queries(model.data_module))
    fewer = inputs.with_present(inputs.present.clone())
    fewer.present[:, 5] = False
    for attention in _attention(model, fewer):
        assert (attention[:, :, :5, 5] == 0).all()
        assert (attention[:, :, 6:, 5] == 0).all()
