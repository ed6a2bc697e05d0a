"""A probe holds the model still, puts it back, and counts what went through it."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from explain.toys import random_toy
from torch import Tensor

from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model


@pytest.fixture
def small() -> tuple[Recommender, Inputs]:
    return small_model(history=4, users=3)


def mixed(model: Recommender) -> None:
    """Some modules in training mode, some parameters frozen, some with gradients."""
    model.train()
    for module in list(model.modules())[1::2]:
        module.training = False
    for at, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(at % 3 != 0)
        parameter.grad = torch.full_like(parameter, at) if at % 2 else None


def state(model: Recommender) -> tuple[list[bool], list[bool], list[float | None]]:
    """Modes, what learns, and the (constant) gradients."""
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [None if p.grad is None else float(p.grad.mean()) for p in model.parameters()],
    )


def test_counts_the_rows_that_are_scored(small) -> None:
    model, inputs = small
    with probe(model) as cost, torch.no_grad():
        model.score(inputs)
        model.score(inputs.rows(torch.tensor([0, 0, 1, 2, 2])))
        model.attend(inputs.rows(slice(0, 2)))
    assert (cost.forward, cost.backward) == (3 + 5 + 2, 0)
    assert cost.seconds > 0


def test_a_row_that_is_read_once_for_many_items_counts_once(small) -> None:
    model, inputs = small
    items = torch.tensor([[1, 2, 3, 4]] * 3)
    with probe(model) as cost, torch.no_grad():
        model.choices(inputs, items)
        model.compared(inputs, items)
    assert cost.forward == 3 + 3


def test_items_that_are_scored_one_after_the_other_count_each(small, monkeypatch) -> None:
    model, inputs = small
    monkeypatch.setattr(type(model), "choices", Recommender.choices)
    monkeypatch.setattr(type(model), "compared", Recommender.compared)
    items = torch.tensor([[1, 2, 3, 4]] * 3)
    with probe(model) as cost, torch.no_grad():
        model.choices(inputs, items)
        model.compared(inputs, items)
    assert cost.forward == 3 * 4 + 3 * 5


def test_counts_rows_asked_through_forward() -> None:
    model, _ = small_model(history=4, users=3)
    batch = model.data_module.queries("test", torch.arange(1, 4))
    with probe(model) as cost, torch.no_grad():
        model(batch)
    assert cost.forward == 3


def test_counts_gradients_of_a_score(small) -> None:
    model, inputs = small
    values = inputs.values.detach().requires_grad_()
    with probe(model) as cost:
        score = model.score(inputs.with_values(values))
        assert cost.backward == 0
        score.sum().backward()
    assert (cost.forward, cost.backward) == (3, 3)
    assert values.grad is not None


@pytest.mark.parametrize("steps", [1, 5, 20])
@pytest.mark.parametrize("at_once", [3, 7, 1000])
def test_counts_what_captum_asks(small, steps: int, at_once: int) -> None:
    model, inputs = small

    def scored(values: Tensor, row: Tensor) -> Tensor:
        return model.score(inputs.rows(row).with_values(values))

    row, values = torch.arange(3), inputs.values.detach()
    with probe(model) as cost:
        IntegratedGradients(scored).attribute(
            values, additional_forward_args=(row,), n_steps=steps, internal_batch_size=at_once
        )
        scored(values, row)
    assert (cost.forward, cost.backward) == (steps * 3 + 3, steps * 3)
    with probe(model) as cost:
        Saliency(scored).attribute(values.requires_grad_(), additional_forward_args=(row,))
    assert (cost.forward, cost.backward) == (3, 3)


def test_nested_probes_each_count(small) -> None:
    model, inputs = small
    with probe(model) as outer:
        Game(model, inputs).everything()
        with probe(model) as inner:
            Game(model, inputs).everything()
            model.score(
                inputs.with_values(inputs.values.detach().requires_grad_())
            ).sum().backward()
        Game(model, inputs).nothing()
    assert (inner.forward, inner.backward) == (6, 3)
    assert (outer.forward, outer.backward) == (12, 3)


def test_counting_ends_with_the_block(small) -> None:
    model, inputs = small
    with probe(model) as cost:
        model.score(inputs)
    model.score(inputs)
    assert cost.forward == 3
    assert not {"score", "attend"} & set(vars(model)), "the model's own methods are shadowed"


def test_a_method_set_on_the_model_itself_comes_back(small) -> None:
    model, inputs = small

    def constant(inputs: Inputs) -> Tensor:
        return torch.zeros(len(inputs))

    vars(model)["score"] = constant
    with probe(model) as cost:
        assert model.score(inputs).tolist() == [0, 0, 0]
    assert cost.forward == 3
    assert vars(model)["score"] is constant


def test_everything_is_still_inside(small) -> None:
    model, inputs = small
    mixed(model)
    with probe(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert torch.equal(model.score(inputs), model.score(inputs))  # no dropout


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_everything_is_put_back(small, fails: bool, deep: bool) -> None:
    model, inputs = small
    mixed(model)
    before = state(model)

    def work() -> None:
        model.train()  # what a careless explainer does
        model.score(inputs.with_values(inputs.values.detach().requires_grad_())).sum().backward()
        if fails:
            raise RuntimeError("an explainer that fails")

    with suppress(RuntimeError), probe(model):
        if deep:
            with probe(model):
                work()
        work()
    assert state(model) == before
    assert not {"score", "attend"} & set(vars(model))


def test_an_error_is_passed_on_and_the_cost_is_kept(small) -> None:
    model, inputs = small
    with pytest.raises(RuntimeError, match="an explainer that fails"), probe(model) as cost:
        model.score(inputs)
        raise RuntimeError("an explainer that fails")
    assert cost.forward == 3
    assert cost.seconds > 0


def test_parameters_are_given_no_gradient() -> None:
    model, inputs = random_toy(rows=3, slots=4, seed=0)
    values = inputs.values.clone().requires_grad_()
    with probe(model):
        model.score(inputs.with_values(values)).sum().backward()
    assert values.grad is not None
    assert values.grad.any()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
