"""Low-rank factorisation: nearest as Eckart and Young have it, what it saves, and what stays."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D
from tuned import cross_encoder, folder, sequential, told

from xrec import Recipe, run
from xrec.compress.chain import take
from xrec.compress.state import flat, size
from xrec.errors import RecipeError, XrecError
from xrec.models.recommender import Recommender
from xrec.plugins import factory
from xrec.runs.run import Run
from xrec.testing import check_model, small_model
from xrec_plugins.compressors.factored import FactoredLinear, FactoredTable, factored, truncated
from xrec_plugins.compressors.low_rank import LowRank
from xrec_plugins.compressors.seen import observe


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory):
    """The folder of a tiny language model of a family."""
    return lambda family: folder(family, tmp_path_factory.getbasetemp() / f"low-rank-{family}")


def small(**options: object) -> Recommender:
    model, _ = small_model(width=16, **options)
    return model


def compressed(model: Recommender, **options: object) -> Recommender:
    made = LowRank(**options)  # type: ignore[arg-type]
    return made.compress(copy.deepcopy(model), model.data_module, told)


# The nearest of its rank


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_the_error_is_that_of_the_singular_values_left_out(rank: int) -> None:
    weight = torch.randn(9, 12, generator=torch.Generator().manual_seed(0))
    left, right = truncated(weight, rank)
    values = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    error = float((weight - left @ right).square().sum())
    assert error == pytest.approx(float((values[rank:] ** 2).sum()), rel=1e-9)
    assert torch.linalg.matrix_rank(left @ right) == rank


def modules() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "linear": nn.Linear(12, 9),
        "unbiased": nn.Linear(12, 9, bias=False),
        "conv1d": Conv1D(9, 12),
        "table": nn.Embedding(20, 6, padding_idx=0),
    }


@pytest.mark.parametrize("name", list(modules()))
def test_at_full_rank_a_module_gives_what_it_gave(name: str) -> None:
    module = modules()[name]
    table = isinstance(module, nn.Embedding)
    given = torch.arange(20) if table else torch.randn(5, 12)
    whole = factored(module, 6 if table else 9)
    assert torch.allclose(whole(given), module(given), atol=1e-5)
    if table:
        assert not whole(given)[0].any()


def test_in_the_eyes_of_the_data_whitened_is_nearest() -> None:
    """And what it leaves out is, in closed form, what the singular values of the outputs say."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(9, 12, generator=generator).double()
    data = torch.randn(200, 12, generator=generator).double() * torch.logspace(-2, 1, 12)
    moment = data.T @ data
    errors = {}
    for name, given in {"plain": None, "whitened": moment}.items():
        left, right = truncated(weight, 4, given)
        errors[name] = float((data @ (weight - left @ right).T).square().sum())
    values = np.linalg.svd((data @ weight.T).numpy(), compute_uv=False)
    assert errors["whitened"] == pytest.approx(float((values[4:] ** 2).sum()), rel=1e-3)
    assert errors["whitened"] < 0.5 * errors["plain"]


def test_inputs_that_do_not_reach_all_directions_can_be_whitened() -> None:
    weight, data = torch.randn(9, 12), torch.randn(3, 12)
    left, right = truncated(weight, 3, data.T @ data)
    assert torch.allclose(data.double() @ (left @ right).T, (data @ weight.T).double(), atol=1e-3)
    assert truncated(weight, 3, torch.zeros(12, 12))[1].isfinite().all()


# A model of smaller weights


def test_parameters_are_as_many_as_the_ratio_says() -> None:
    model = small()
    made = compressed(model, ratio=0.5)
    expected = size(model)["parameters"]
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            out, wide = module.weight.shape
            rank = int(0.5 * out * wide / (out + wide))
            if rank:
                expected -= out * wide - rank * (out + wide)
                assert made.get_submodule(name).rank == rank
    assert size(made)["parameters"] == expected < size(model)["parameters"]


def test_energy_keeps_that_share_of_squared_singular_values() -> None:
    model = small()
    made = compressed(model, energy=0.5)
    ranks = LowRank(energy=0.5).form(made)["ranks"]
    assert ranks
    for name, rank in ranks.items():
        values = np.linalg.svd(model.get_submodule(name).weight.detach().numpy(), compute_uv=False)
        share = np.cumsum(values**2) / np.sum(values**2)
        assert share[rank - 1] >= 0.5
        assert rank == 1 or share[rank - 2] < 0.5


def test_a_model_of_low_rank_scores_as_before() -> None:
    model = small()
    for module in model.modules():
        if isinstance(module, nn.Linear) and min(module.weight.shape) > 3:
            left, right = truncated(module.weight.detach(), 3)
            module.weight.data = (left @ right).float()
    made = compressed(model, energy=0.999999)
    assert set(LowRank(energy=0.5).form(made)["ranks"].values()) == {3}
    batch = model.data_module.queries("test")
    assert torch.allclose(made.catalogue(batch), model.catalogue(batch), atol=1e-4)


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("options", [{"ratio": 0.5, "embeddings": True}, {"energy": 0.6}])
def test_the_contract_holds_and_gradients_are_true(options: dict, whiten: bool) -> None:
    model = small()
    found = take(LowRank(**options, whiten=whiten), model, model.data_module, told)
    check_model(found.model, model.data_module.queries("test").rows(slice(0, 4)))
    assert found.gradients.cosine > 0.999
    assert found.model.slope.trusted
    assert not found.model.slope.said


def test_of_the_maps_outputs_whitening_loses_less(tiny_run) -> None:
    model, data, outputs = tiny_run.model, tiny_run.data, {}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and "layers" in n}
    moments: dict[str, torch.Tensor] = {}

    def add(name: str, given: torch.Tensor) -> None:
        moments[name] = moments.get(name, 0) + given.flatten(0, -2).T @ given.flatten(0, -2)

    observe(model, data, layers, add)
    for whiten in (False, True):
        made = LowRank(ratio=0.4, whiten=whiten).compress(copy.deepcopy(model), data, told)
        for name, module in layers.items():
            pair = made.get_submodule(name)
            gap = (module.weight - pair.up.weight @ pair.down.weight).detach()
            outputs[name, whiten] = float((gap @ moments[name] @ gap.T).trace())
    assert layers.keys() == moments.keys()
    for name in layers:
        assert outputs[name, True] <= outputs[name, False] * (1 + 1e-4)


def test_what_was_lost_is_learned_again(tiny_run) -> None:
    told_of: list[str] = []
    bare = LowRank(ratio=0.1)
    model, data = tiny_run.model, tiny_run.data
    losses = []
    for step in (bare, replace(bare, epochs=2, lr=0.01)):
        made = step.compress(copy.deepcopy(model), data, told_of.append)
        assert not made.training
        torch.manual_seed(0)
        with torch.no_grad():
            losses.append(sum(made.loss(batch)["click"] for batch in data.train_dataloader()))
    assert losses[1] < losses[0]
    assert told_of[0] == "  3 of 6 weights factorised, of ranks 1 to 1"


# Language models


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("kind", [cross_encoder, sequential])
def test_language_models_are_factorised(shelf, family: str, kind) -> None:
    model = kind(shelf(family))
    made = compressed(model, ratio=0.5, embeddings=True)
    ranks = LowRank(ratio=0.5).form(made)["ranks"]
    inside = [name for name in ranks if ".transformer." in name]
    assert any("attn" in name or "attention" in name for name in inside)
    tables = [n for n in inside if isinstance(made.get_submodule(n), FactoredTable)]
    assert any("word_embeddings" in name or "wte" in name for name in tables)
    check_model(made, model.data_module.queries("test").rows(slice(0, 4)))
    assert size(made)["parameters"] < 0.75 * size(model)["parameters"]


def test_only_the_modules_named_are_factorised(shelf) -> None:
    model = cross_encoder(shelf("bert"))
    only = ["language.transformer.encoder.layer.0", "retriever.layers.0.qkv"]
    ranks = LowRank(ratio=0.5).form(compressed(model, ratio=0.5, only=only))["ranks"]
    assert len(ranks) == 7
    assert all(name.startswith(tuple(only)) for name in ranks)


# Kept, and again


def test_a_chain_with_itself_is_opened_as_it_was_made(tiny_recipe, tmp_path) -> None:
    steps = [
        {"name": "low_rank", "ratio": 0.6, "embeddings": True, "max_quality_drop": 1},
        {"name": "low_rank", "energy": 0.8, "max_quality_drop": 1},
    ]
    resolved = Recipe.load(tiny_recipe).resolved
    done = run(Recipe.of({**resolved, "compress": steps}), tmp_path)
    first, second = (done.store.json(f"{name}.json") for name in done.steps)
    assert second["after"]["parameters"] < first["after"]["parameters"]
    assert first["after"]["parameters"] < first["before"]["parameters"]
    assert isinstance(done.model.get_submodule("layers.0.qkv"), FactoredLinear)
    batch = done.data.queries("test")
    opened = Run.open(done.folder)
    assert opened.model.catalogue(batch).equal(done.model.catalogue(batch))
    assert flat(opened.model).keys() == flat(done.model).keys()


# Bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "one of ratio and energy must be given"),
        ({"ratio": 0.5, "energy": 0.5}, "and not both"),
        ({"ratio": 1}, "ratio is 1, it must be above 0 and below 1"),
        ({"energy": 0}, "energy is 0, it must be above 0 and below 1"),
        ({"ratio": 0.5, "epochs": -1}, "epochs is -1, it must not be below 0"),
        ({"ratio": 0.5, "lr": 0}, "lr is 0, it must be above 0"),
    ],
)
def test_a_bad_option_is_named(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LowRank(**options)


def test_a_recipe_names_the_key(tiny_recipe) -> None:
    resolved = Recipe.load(tiny_recipe).resolved
    step = {"name": "low_rank", "ratio": 2}
    with pytest.raises(RecipeError, match=r"^compress\[0\]: ratio is 2"):
        Recipe.of({**resolved, "compress": [step]}).check()


def test_an_unknown_module_is_told_with_the_nearest() -> None:
    with pytest.raises(XrecError, match=r"only has 'layers.0.qvk': did you mean 'layers.0.qkv'\?"):
        compressed(small(), ratio=0.5, only=["layers.0.qvk"])


def test_weights_too_small_to_gain_say_so() -> None:
    with pytest.raises(XrecError, match=r"none of 10 weights can be smaller .* a ratio above 0.01"):
        compressed(small(), ratio=0.01)
    with pytest.raises(XrecError, match=r"none of 10 weights can be smaller .* energy below 0.99"):
        compressed(small(), energy=0.9999)


def test_rounded_weights_are_not_factorised() -> None:
    quantization = pytest.importorskip("torchao.quantization")
    model = small()
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    with pytest.raises(XrecError, match="is in rounded numbers already: put low_rank before"):
        compressed(model, ratio=0.5)


def test_it_is_offered() -> None:
    assert factory("compressor", "low_rank") is LowRank
