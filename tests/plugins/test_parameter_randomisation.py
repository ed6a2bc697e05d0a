"""Parameter randomisation: what is drawn anew, in which order, and who notices."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from asking import Saying, asked
from explain.toys import Additive, contributions, random_toy
from scipy import stats
from torch import Tensor

from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.plugins import factory
from xrec.testing import small_model
from xrec_plugins.metrics.parameter_randomisation import (
    ParameterRandomisation,
    layers_of,
    redraw,
)


def found(explainer, model, inputs, metric=None, **how) -> Tensor:
    return (metric or ParameterRandomisation()).measure(asked(explainer, model, inputs, **how))[
        "smprt"
    ]


def owners(model: Recommender, layers: list[list[torch.nn.Parameter]]) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(parameter)] for parameter in layer] for layer in layers]


def test_layers_go_from_the_head_down_and_are_those_that_the_score_depends_on() -> None:
    model, inputs = small_model()
    next(iter(model.layers.parameters())).requires_grad_(False)  # frozen, and used all the same
    layers = owners(model, layers_of(model, inputs, logit))
    assert layers[0] == ["heads.0.weight", "heads.0.bias"]
    assert layers[1] == ["norm.weight", "norm.bias"]
    told = [name for layer in layers for name in layer]
    assert next(name for name, _ in model.layers.named_parameters()) in [
        name.removeprefix("layers.") for name in told
    ]
    assert len(set(told)) == len(told)
    assert not [name for name in told if name.startswith(("views.", "profile."))]  # of vectors


def test_what_the_target_does_not_depend_on_is_left_out() -> None:
    model, inputs = random_toy(rows=2, slots=4, seed=0)
    assert owners(model, layers_of(model, inputs, logit)) == [["weight", "bias", "pairs"]]
    assert layers_of(model, inputs, lambda model, inputs: inputs.values.sum((1, 2))) == []
    case = asked(Saying(contributions), model, inputs)
    of_vectors = replace(case, target=lambda model, inputs: inputs.values.sum((1, 2)))
    assert ParameterRandomisation().measure(of_vectors) == {}


def test_parameters_are_drawn_with_their_mean_and_deviation() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = torch.nn.Parameter(3 + 0.5 * torch.randn(100, 100))
    single, flat = torch.nn.Parameter(torch.tensor(4.0)), torch.nn.Parameter(torch.ones(8))
    before = wide.detach().clone()
    redraw([wide, single, flat], generator)
    values = wide.detach()
    assert float(values.mean()) == pytest.approx(3, abs=0.03)
    assert float(values.std()) == pytest.approx(0.5, abs=0.03)
    both = torch.stack([values.flatten(), before.flatten()])
    assert abs(float(both.corrcoef()[0, 1])) < 0.05
    assert single.item() == 4
    assert flat.tolist() == [1] * 8


def test_by_a_loop_over_rows_steps_and_noises() -> None:
    model, inputs = small_model(users=3)
    explainer = factory("explainer", "gradient_x_input")()
    metric = ParameterRandomisation(steps=2, noises=2, noise=0.1)
    smprt = found(explainer, model, inputs, metric, seed=5)

    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(3, 2, *inputs.values.shape[1:], generator=generator)

    def smooth(model: Recommender, row: int) -> Tensor:
        one, players = inputs.rows(slice(row, row + 1)), inputs.players[row]
        size = one.values[0, players].square().mean().sqrt()
        told = 0
        for copy_ in range(2):
            values = one.values.clone()
            values[0, players] += 0.1 * size * noise[row, copy_, players]
            told = told + explainer.explain(model, one.with_values(values), logit).values[0] / 2
        return told[players]

    twin = copy.deepcopy(model)
    layers = layers_of(twin, inputs, logit)
    half = -(-len(layers) // 2)
    expected = torch.zeros(3)
    for some in (layers[:half], layers[half:]):
        for layer in some:
            redraw(layer, generator)
        for row in range(3):
            pair = smooth(model, row), smooth(twin, row)
            expected[row] += stats.spearmanr(*pair).statistic / 2
    assert torch.allclose(smprt.float(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["recency", "random"])
def test_who_does_not_look_at_the_model_does_not_notice(name: str) -> None:
    model, inputs = small_model()
    assert found(factory("explainer", name)(), model, inputs).tolist() == [1] * 4


def test_who_looks_at_the_model_notices(tiny_run) -> None:
    inputs = tiny_run.subject.inputs
    for name in ("gradient_x_input", "leave_one_out"):
        assert found(factory("explainer", name)(), tiny_run.model, inputs).max() < 0.7


def test_constants_do_not_change_and_what_turns_constant_does() -> None:
    model, inputs = random_toy(rows=3, slots=8, seed=0)
    flat = Saying(lambda model, inputs: torch.ones(inputs.present.shape))
    assert found(flat, model, inputs).tolist() == [1, 1, 1]

    def lost(given: Recommender, inputs: Inputs) -> Tensor:
        return inputs.values[..., 0] if given is model else torch.ones(inputs.present.shape)

    assert found(Saying(lost), model, inputs).tolist() == [0, 0, 0]


def test_the_model_is_left_as_it_was() -> None:
    model, inputs = small_model()
    model.train()
    model.heads[0].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found(factory("explainer", "gradient_x_input")(), model, inputs)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert not model.heads[0].bias.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_all_explainers_are_told_of_the_same_models_and_noise() -> None:
    model, inputs = random_toy(rows=2, slots=6, seed=0)
    seen: dict[str, list[Tensor]] = {"one": [], "two": []}

    def noting(name: str):
        def says(model: Additive, inputs: Inputs) -> Tensor:
            seen[name] += [model.weight.detach().clone(), inputs.values.clone()]
            return contributions(model, inputs)

        return Saying(says)

    for name in seen:
        found(noting(name), model, inputs, seed=3)
    assert len(seen["one"]) == 2 * 3  # the explanation, the smooth one, and of the one layer
    assert all(torch.equal(*pair) for pair in zip(seen["one"], seen["two"], strict=True))
    assert not torch.equal(seen["one"][0], seen["one"][-2])


def test_it_asks_for_the_first_rows_alone_and_others_are_nan() -> None:
    model, inputs = random_toy(rows=5, slots=6, seed=3)
    exact = Saying(contributions)
    smprt = found(exact, model, inputs, ParameterRandomisation(rows=2))
    assert exact.asked == 5 + 2 * 3 * 2  # as many copies, by the model and by its one step
    assert smprt.isnan().tolist() == [False, False, True, True, True]


def test_a_row_without_an_order_is_not_judged() -> None:
    model, inputs = random_toy(rows=2, slots=5, seed=0, fixed=(0,))
    few = inputs.with_present(inputs.features.fixed | (torch.arange(5) == 2))
    assert found(Saying(contributions), model, few).isnan().all()


@pytest.mark.parametrize("name", ["steps", "noises", "rows"])
def test_bad_options(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        ParameterRandomisation(**{name: 0})
    with pytest.raises(ValueError, match=r"noise is -0\.1"):
        ParameterRandomisation(noise=-0.1)
