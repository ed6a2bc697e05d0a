"""Students: their size, what teaches them, what they learn, and what they are built again from."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning import seed_everything
from scipy.stats import entropy
from tongues import DECODERS, ENCODERS, saved, word_pieces
from torch import Tensor, nn
from transformers import AutoModel

from xrec import Recipe, run
from xrec.compress.chain import rebuilt, take
from xrec.compress.state import flat, size
from xrec.data.module import Data
from xrec.errors import RecipeError, XrecError
from xrec.explain.target import logit
from xrec.fidelity.correlation import likeness, spearman
from xrec.filling import fill
from xrec.models.language import LanguageModel
from xrec.models.recommender import Recommender
from xrec.options import DataOptions, TrainOptions
from xrec.plugins import factory
from xrec.runs.finetuning import finetune
from xrec.runs.run import Run
from xrec.testing import check_model, small_data
from xrec.testing.world import SmallEncoder
from xrec_plugins.compressors import matching
from xrec_plugins.compressors.distil import Distil
from xrec_plugins.compressors.shown import show
from xrec_plugins.compressors.student import places, shallower
from xrec_plugins.compressors.teaching import TERMS, Teaching
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.explainers.gradient_x_input import GradientXInput
from xrec_plugins.models.cross_encoder import CrossEncoder
from xrec_plugins.models.sequential import Sequential

EVERY = dict.fromkeys(TERMS, 1.0)
#: ALBERT's layers are one, read several times.
LAYERED = [each for each in (*ENCODERS, *DECODERS) if each != "albert"]


def nothing(text: str) -> None:
    """Nobody is told."""


def sequential(width: int = 8, layers: int = 3, data: Data | None = None, seed: int = 0):
    """An untrained model whose every part matters, in evaluation mode."""
    torch.manual_seed(seed)
    data, encoder = data or small_data(), SmallEncoder()
    made = Sequential(width, layers).build(data, encoder.encode(data.texts), encoder)
    return shaken(made)


def shaken(model: Recommender) -> Recommender:
    """Its weights, away from where they begin."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory):
    """Folders of tiny language models of three layers by family. Tests must not write to them."""
    made: dict[str, Path] = {}

    def folder(model_type: str) -> Path:
        if model_type not in made:
            made[model_type] = deep(model_type, tmp_path_factory.mktemp(model_type))
        return made[model_type]

    return folder


def deep(model_type: str, folder: Path) -> Path:
    """A tiny model of a family, with three layers."""
    texts = small_data().texts if model_type == "bert" else ()
    saved(model_type, folder, word_pieces(texts) if model_type in ENCODERS else None)
    torch.manual_seed(0)
    config = AutoModel.from_pretrained(folder).config
    if kinds := getattr(config, "layer_types", None):
        config.layer_types = [*kinds, kinds[0]]
    config.num_hidden_layers = 3
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def crossed(folder: Path, data: Data | None = None, tune: str = "full"):
    """An untrained cross-encoder with adapters merged, in evaluation mode."""
    data = data or small_data(history=4)
    torch.manual_seed(0)
    options = CrossEncoder(tokens=64, item_tokens=9, candidates=4, rows=3, retriever={"width": 8})
    encoder = Pretrained(str(folder), tune=tune)
    model = options.build(data, torch.randn(len(data.items), 8), encoder)
    model.settle()
    return model.eval()


# Students


@pytest.mark.parametrize(
    ("count", "of", "keep", "kept"),
    [
        (6, 12, "spread", [0, 2, 4, 7, 9, 11]),  # DistilBERT's
        (3, 6, "spread", [0, 2, 5]),
        (1, 4, "spread", [0]),
        (2, 5, "first", [0, 1]),
        (2, 5, "last", [3, 4]),
    ],
)
def test_layers_are_kept_by_their_place(count, of, keep, kept) -> None:
    assert places(count, of, keep) == kept


def test_each_layer_is_matched_with_one_as_far_through() -> None:
    assert matching.partners(6, 12) == [1, 3, 5, 7, 9, 11]
    assert matching.partners(2, 3) == [1, 2]
    assert matching.partners(3, 3) == [0, 1, 2]


def test_a_student_with_fewer_layers_is_smaller_by_just_these() -> None:
    width, furthest = 8, 6
    model = sequential(width, 3)
    made = Distil(layers=1).student(copy.deepcopy(model))
    norms, attention = 4 * width, 4 * width**2 + 4 * width
    feed, distances = 8 * width**2 + 5 * width, (furthest + 2) * 2
    layer = norms + attention + feed + distances
    assert size(model)["parameters"] - size(made)["parameters"] == 2 * layer
    for name, tensor in flat(made).items():
        assert tensor.equal(flat(model)[name])


def test_a_narrower_student_is_as_large_as_a_fresh_model_of_its_sizes() -> None:
    made = Distil(layers=2, width=4, heads=1).student(sequential(8, 3))
    fresh = sequential(4, 2)
    distances = 2 * (6 + 2)  # of one head of two, in two layers
    assert size(made)["parameters"] == size(fresh)["parameters"] - distances
    assert made.layers[0].heads == 1


@pytest.mark.parametrize("family", LAYERED)
def test_a_language_model_with_fewer_layers_is_what_transformers_makes_of_these(shelf, family):
    """Beside one that transformers builds with two layers, given the first's and the last's."""
    language = LanguageModel.load(shelf(family))
    language.settle()
    held = next(m for m in language.modules() if isinstance(m, nn.ModuleList))
    owner = nn.ModuleList([language])
    before = size(language)["parameters"]
    layer = sum(p.numel() for p in held[1].parameters())
    shallower(owner, held, [0, 2])
    assert size(language)["parameters"] == before - layer
    assert len(language.layers) == 2
    bare = AutoModel.from_config(language.transformer.config).eval()
    missing = bare.load_state_dict(language.transformer.state_dict(), strict=True)
    assert not any(missing)
    language.eval()
    ids, mask = language.padded([language.framed(each) for each in language.tokens(["a lamp to"])])
    places_ = torch.arange(ids.shape[1])[None]
    types = torch.zeros_like(ids)
    with torch.no_grad():
        said = language.states(language.word_vectors(ids), mask.bool(), places_, types)
        wanted = bare(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.allclose(said, wanted, atol=1e-5)


# What teaches


def windows(model: Recommender):
    """The first batch of training windows."""
    return next(iter(model.data_module.train_dataloader()))


def lesson(teacher: Recommender, student: Recommender, **weights: float) -> Teaching:
    torch.manual_seed(0)
    return Teaching(teacher, student, weights, rows=3, rivals=2, temperature=2.0)


@pytest.mark.parametrize("kind", ["sequential", "cross_encoder"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(shelf, kind: str) -> None:
    teacher = sequential() if kind == "sequential" else crossed(shelf("bert"))
    student = copy.deepcopy(teacher).train()
    teaching = lesson(teacher, student, **EVERY)
    for name, term in teaching.terms(student, *teaching.asked(windows(student))).items():
        assert term.item() == pytest.approx(0, abs=1e-5), name
    assert student.training


def test_both_are_asked_of_a_learned_event_and_items_not_had() -> None:
    model = sequential()
    batch = windows(model)
    asked, rivals = lesson(model, copy.deepcopy(model), logits=1).asked(batch)
    assert rivals.equal(batch.negatives[:3, :2])
    for row in range(3):
        at = int((batch.history[row] == asked.candidate[row]).nonzero()[0])
        assert batch.learned[row, at]
        before = batch.history[row, :at]
        assert asked.history[row][asked.history[row] > 0].equal(before[before > 0])


def test_what_is_said_is_compared_as_hinton_has_it() -> None:
    mine, theirs = torch.tensor([[1.0, 0, 2], [0, 3, 1]]), torch.tensor([[2.0, 1, 0], [0, 1, 1]])
    each = [
        entropy((wanted / 2).softmax(0), (own / 2).softmax(0))
        for own, wanted in zip(mine, theirs, strict=True)
    ]
    found = matching.softened(mine, theirs, 2.0)
    assert float(found) == pytest.approx(4 * sum(each) / 2, rel=1e-5)


def test_states_are_compared_slot_by_slot_through_what_fits_them() -> None:
    generator = torch.Generator().manual_seed(0)
    mine = torch.randn(2, 3, 2, generator=generator)
    theirs = [torch.randn(2, 3, 4, generator=generator) for _ in range(2)]
    real = torch.tensor([[True, False, True], [False, True, True]])
    fit = nn.Linear(2, 4, bias=False)
    found = matching.states([(mine, real)], [(each, real) for each in theirs], [fit])
    error = norm = 0.0
    for row, slot in real.nonzero().tolist():
        wanted = theirs[1][row, slot]
        error += float((fit.weight @ mine[row, slot] - wanted).square().sum())
        norm += float(wanted.square().sum())
    assert float(found) == pytest.approx(error / norm, rel=1e-5)


@pytest.mark.parametrize("heads", [2, 1])
def test_attention_is_compared_row_by_row(heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    mine = torch.randn(2, heads, 3, 3, generator=generator).softmax(-1)
    theirs = torch.randn(2, 2, 3, 3, generator=generator).softmax(-1)
    mine[..., 2], theirs[..., 2] = 0, 0  # what none may look at
    mine, theirs = (each / each.sum(-1, keepdim=True) for each in (mine, theirs))
    real = torch.tensor([[True, False, True], [False, True, True]])
    found = matching.attention([(mine, real)], [(theirs, real)])
    wanted = theirs if heads == 2 else theirs.mean(1, keepdim=True)
    each = [
        entropy(wanted[row, head, slot, :2], mine[row, head, slot, :2])
        for row, slot in real.nonzero().tolist()
        for head in range(heads)
    ]
    assert float(found) == pytest.approx(sum(each) / len(each), rel=1e-5)


@pytest.mark.parametrize("kind", ["sequential", "cross_encoder"])
def test_what_is_shown_is_what_the_model_says_of_itself(shelf, kind: str) -> None:
    """Beside the score, the decoding of layers, attention, and captum's explainer."""
    model = sequential() if kind == "sequential" else crossed(shelf("bert"))
    batch = model.data_module.queries("test").rows(slice(0, 3))
    rivals = torch.tensor([[1, 2], [3, 4], [5, 6]])
    with torch.no_grad():
        inputs = model.embed(batch)
    plain, found = (
        show(model, inputs, rivals, states=True, maps=more, slopes=more) for more in (False, True)
    )
    for each in (plain, found):
        assert torch.allclose(each.said, model.compared(inputs, rivals), atol=1e-5)
        assert len(each.states) == len(model.layers_read)
        for states, real in each.states:
            assert states.shape[:2] == real.shape
            assert real.any(1).all()
    assert plain.slopes is None
    assert not plain.maps
    wanted = GradientXInput().explain(model, inputs, logit).values
    assert torch.allclose(found.slopes, wanted, atol=1e-5)
    start = model.read_from(inputs)
    for (maps, real), whole in zip(found.maps, model.attend(inputs), strict=True):
        end = start + maps.shape[-1]
        own = whole[..., start:end, start:end] * real[:, None, :, None]
        assert torch.allclose(maps * real[:, None, :, None], own, atol=1e-5)


@pytest.mark.parametrize("kind", ["sequential", "cross_encoder"])
def test_explanations_teach_by_their_second_derivative(shelf, kind: str) -> None:
    """The gradient of the term with respect to weights, beside central differences."""
    teacher = sequential() if kind == "sequential" else crossed(shelf("bert"))
    teacher = teacher.double()
    student = shaken(copy.deepcopy(teacher))
    teaching = lesson(teacher, student, explanations=1)
    asked = student.data_module.queries("test").rows(slice(0, 3)), torch.empty(3, 0).long()

    def term() -> Tensor:
        return teaching.terms(student, *asked)["explanations"]

    weight = next(p for p in student.layers_read[0].parameters() if p.dim() == 2)
    (gradient,) = torch.autograd.grad(term(), weight)
    for at in ((0, 0), (1, 3)):
        told = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[at] += step
            told.append(term().item())
            with torch.no_grad():
                weight[at] -= step
        assert float(gradient[at]) == pytest.approx((told[0] - told[1]) / 2e-5, rel=1e-3, abs=1e-9)


def test_only_terms_that_weigh_anything_are_computed(monkeypatch) -> None:
    teacher = sequential()
    student = copy.deepcopy(teacher)
    asked: list[dict[str, bool]] = []
    real = show

    def watching(model, inputs, rivals, **wanted):
        asked.append({**wanted, "rivals": rivals.shape[1] > 0})
        return real(model, inputs, rivals, **wanted)

    monkeypatch.setattr("xrec_plugins.compressors.teaching.show", watching)
    names = {"logits": "rivals", "hidden": "states", "attention": "maps", "explanations": "slopes"}
    for name, part in names.items():
        teaching = lesson(teacher, student, **{**dict.fromkeys(TERMS, 0.0), name: 0.5})
        asked.clear()
        terms = teaching.xrec_loss(student, windows(student))
        assert list(terms) == [f"distil_{name}"]
        assert len(asked) == 2  # the student and the teacher, once each
        assert all(wanted == {each: each == part for each in names.values()} for wanted in asked)


# Teaching


def test_teaching_leaves_a_retriever_and_the_model_as_they_were(shelf) -> None:
    data = small_data(history=4)
    model = crossed(shelf("bert"), data)
    learns = [p.requires_grad for p in model.parameters()]
    model.options = replace(model.options, rates={"retriever": 0.1, "heads": 1e-2})
    options, before = model.options, {n: t.clone() for n, t in flat(model.retriever).items()}
    distil = Distil(layers=1, epochs=1, rows=3, rivals=1, hidden=1, attention=1, explanations=1)
    made = distil.compress(copy.deepcopy(model), data, nothing)
    for name, tensor in flat(made.retriever).items():
        assert tensor.equal(before[name])
    assert all(p.requires_grad for p in made.retriever.parameters())
    pooler = [n for n, p in made.named_parameters() if not p.requires_grad]
    assert all("pooler" in name for name in pooler)
    assert [p.requires_grad for p in model.parameters()] == learns
    assert made.options == options
    assert not any("teaching" in name for name in flat(made))
    assert not made.training
    assert len(made.language.layers) == 1
    assert len(made.by_layer(made.embed(data.queries("test")), torch.ones(12, 1).long())) == 2
    check_model(made, data.queries("test").rows(slice(0, 3)))


def test_the_contract_holds_of_students_of_a_sequential_model() -> None:
    model = sequential()
    for distil in (Distil(layers=1, **EVERY, epochs=1), Distil(width=4, hidden=1, epochs=1)):
        made = distil.compress(copy.deepcopy(model), model.data_module, nothing)
        check_model(made, model.data_module.queries("test").rows(slice(0, 3)))
        assert not any("teaching" in name for name in flat(made))


def test_a_language_model_that_reads_texts_alone_is_taught_through_them(shelf) -> None:
    data, encoder = small_data(), Pretrained(str(shelf("bert")), tune="lora")
    torch.manual_seed(0)
    model = Sequential(8, 2).build(data, encoder.encode(data.texts), encoder)
    model.settle()
    distil = Distil(layers=1, epochs=1)
    student = distil.student(copy.deepcopy(model)).train()
    assert len(student.reading.language.layers) == 1
    assert len(student.layers) == 2
    assert len(distil.student(copy.deepcopy(model)).layers) == 2
    assert len(replace(distil, of="model").student(copy.deepcopy(model)).layers) == 1
    teaching = distil.teaching(copy.deepcopy(model), student)
    teaching.terms(student, *teaching.asked(windows(student)))["logits"].backward()
    assert any(
        p.grad is not None and p.grad.any() for p in student.reading.language.layers[0].parameters()
    )
    made = distil.compress(model, data, nothing)
    check_model(made, data.queries("test").rows(slice(0, 3)))
    assert torch.allclose(made.texts, made.reading.everything())


# What is learned


@pytest.fixture(scope="module")
def taught() -> tuple[Recommender, Data]:
    """A model of two layers, trained on a small planted world."""
    tables = factory("dataset", "planted")(users=200, items=100, events=12).load()
    train = TrainOptions(batch=32, negatives=16)
    data = Data(tables, DataOptions(history=10), train)
    seed_everything(0, verbose=False)
    encoder = SmallEncoder()
    model = Sequential(16, 2).build(data, encoder.encode(data.texts), encoder)
    finetune(model.train(), data, 6, 1e-2, nothing)
    return model.eval(), data


def alike(one: Recommender, other: Recommender) -> float:
    """The mean rank correlation of what two models say of the catalogue, over test users."""
    batch = one.data_module.queries("test")
    with torch.no_grad():
        said, wanted = one.catalogue(batch)[:, 1:], other.catalogue(batch)[:, 1:]
    return float(spearman(said, wanted, torch.ones_like(said, dtype=torch.bool)).mean())


def reasons_alike(one: Recommender, other: Recommender) -> float:
    """The mean rank correlation of their explanations, over test users."""
    batch = one.data_module.queries("test")
    mine, theirs = (
        GradientXInput().explain(each, each.embed(batch), logit) for each in (one, other)
    )
    return float(likeness(mine.values, theirs.values, theirs.present).nanmean())


def schooled(taught, **options) -> Recommender:
    model, data = taught
    seed_everything(0, verbose=False)
    return Distil(layers=1, epochs=4, lr=1e-2, **options).compress(
        copy.deepcopy(model), data, nothing
    )


def test_a_taught_student_says_what_its_teacher_does(taught) -> None:
    """More so than one that learned as long from the data alone, or not at all."""
    model, data = taught
    student = schooled(taught, width=8, rivals=16)
    seed_everything(0, verbose=False)
    fresh = Distil(layers=1, width=8).student(copy.deepcopy(model)).eval()
    untaught = alike(fresh, model)
    finetune(fresh.train(), data, 4, 1e-2, nothing)
    by_itself = alike(fresh.eval(), model)
    assert alike(student, model) > by_itself + 0.2
    assert alike(student, model) > untaught + 0.2


def test_a_student_taught_explanations_keeps_them(taught) -> None:
    """Its reasons on held-out users are more like the teacher's; it says no less what that says."""
    model, _ = taught
    without = schooled(taught, rivals=16)
    with_them = schooled(taught, rivals=16, explanations=0.3)
    assert reasons_alike(with_them, model) > reasons_alike(without, model) + 0.05
    assert alike(with_them, model) > alike(without, model) - 0.05


# Runs


def test_a_run_builds_students_again_bit_by_bit(tiny_recipe, tmp_path) -> None:
    """Fewer layers, and then a narrower student of that student."""
    bound = {"name": "distil", "epochs": 1, "max_quality_drop": 1}
    steps = [{**bound, "layers": 2, "hidden": 1}, {**bound, "layers": 1, "width": 8, **EVERY}]
    given = {**Recipe.load(tiny_recipe).resolved, "compress": steps}
    given["model"] = {"name": "sequential", "width": 16, "layers": 3}
    done = run(Recipe.of(given), tmp_path)
    assert [len(done.compressed(at).layers) for at in range(3)] == [3, 2, 1]
    assert done.model.query.shape == (8,)
    again = Run.open(done.folder)
    assert again.model.catalogue(done.data.queries("test")).equal(
        done.model.catalogue(done.data.queries("test"))
    )
    told = done.store.json("compressed/2-distil.json")
    assert told["form"] == {"layers": 1}
    assert told["gradients"]["cosine"] > 0.99
    assert again.model.slope.trusted


def test_a_student_of_a_cross_encoder_is_built_again(shelf) -> None:
    model, distil = crossed(shelf("bert"), tune="lora"), Distil(layers=1, epochs=1, rows=2)
    found = take(distil, model, model.data_module, nothing)
    fresh = crossed(shelf("bert"), tune="lora")
    again = rebuilt(fresh, [(distil, found.told())], flat(found.model), "here")
    batch = model.data_module.queries("test")
    with torch.no_grad():
        assert again.catalogue(batch).equal(found.model.catalogue(batch))


# Bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"logits": 0}, r"^here: logits, hidden, attention, explanations are all 0: give one"),
        ({"hidden": -1}, r"^here: logits, hidden, .* are weights: they must be at least 0"),
        ({"keep": "lst"}, r"^here: keep is 'lst': did you mean 'last'\?"),
        ({"of": "languge"}, r"^here: of is 'languge': did you mean 'language'\?"),
        ({"epochs": 0}, r"^here: epochs is 0, it must be at least 1"),
        ({"layers": -1}, r"^here: layers is -1, it must be at least 0"),
        ({"temperature": 0}, r"^here: lr and temperature must be above 0"),
    ],
)
def test_a_bad_option_is_named(options, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        fill(Distil, options, "here")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": 3}, r"layers is 3, it must be below the 3 of the model$"),
        ({"layers": 4, "width": 4}, r"layers is 4, it must be below the 3 of the model$"),
        ({"width": 5}, r"width 5 must be a multiple of heads 2$"),
        ({"layers": 3, "width": 8}, r"the student has .*, no fewer than the model's .*: lower"),
        ({"of": "language"}, r"the model SequentialRecommender has no language model of its own"),
    ],
)
def test_a_student_that_cannot_be_is_refused(options, words: str) -> None:
    with pytest.raises(XrecError, match=rf"^compressor 'distil': {words}"):
        Distil(**options).student(sequential())


def test_models_that_cannot_be_smaller_are_named(shelf) -> None:
    with pytest.raises(
        XrecError, match=r"width and heads are of .* not of CrossEncoderRecommender"
    ):
        Distil(layers=1, width=4).student(crossed(shelf("bert")))
    with pytest.raises(XrecError, match=r"Layerless has no layers to take away \(`layers_read`"):
        Distil().student(Layerless(small_data()))


class Layerless(Recommender):
    """A model without layers."""
