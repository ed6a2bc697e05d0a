"""Structured pruning: what goes is what masks say, by weights and gradients found independently."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cross_encoder import OPTIONS
from tongues import bytes_of, saved
from torch import Tensor, nn

from xrec import Recipe, run
from xrec.compress.blocks import Units, stacks
from xrec.compress.chain import QUALITY, rebuilt, take
from xrec.compress.state import flat, size
from xrec.data.module import Data
from xrec.errors import PluginError, RecipeError, XrecError
from xrec.models.recommender import Recommender
from xrec.plugins import factory
from xrec.runs.run import Run
from xrec.testing import check_model, small_data
from xrec.testing.world import SmallEncoder
from xrec_plugins.compressors.gates import Layers, gated
from xrec_plugins.compressors.importance import bounded, learned, magnitude, taylor, weakest
from xrec_plugins.compressors.shares import Whole, units
from xrec_plugins.compressors.structured_pruning import StructuredPruning
from xrec_plugins.compressors.surgery import cut, remove
from xrec_plugins.compressors.trial import Trial
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.models.cross_encoder import CrossEncoder
from xrec_plugins.models.sequential import Sequential

WORDS = "language.transformer.encoder.layer"
BARE = {"epochs": 0, "batches": 2, "rows": 4}


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory):
    """Folders of tiny models by family, made when asked for."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            place = tmp_path_factory.mktemp(family)
            made[family] = saved(family, place, bytes_of(None if family == "gpt2" else "<s>"))
        return made[family]

    return folder


def _data() -> Data:
    """The small world, in few words."""
    data = small_data(history=4)
    items = data.tables.items.with_columns(text=data.tables.items["title"])
    users = data.tables.users.select("user", "age")
    return Data(data.tables.replace(items=items, users=users), data.options, data.train)


def _settled(model: Recommender) -> Recommender:
    """The model with every parameter of bearing, all its own, in evaluation mode."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding) and not module.weight.any():
                module.weight.normal_()
        for name, parameter in model.named_parameters():
            if name.endswith(("distance.weight", ".bias", "views.gate.weight")):
                parameter.normal_(std=0.3)
    model.settle()
    return model.eval()


def _sequential(**options: object) -> Recommender:
    data = _data()
    torch.manual_seed(0)
    texts = torch.randn(len(data.items), 5)
    options = {"width": 12, "heads": 4, "layers": 3, **options}
    return _settled(Sequential(**options).build(data, texts, SmallEncoder()))


def _crossed(folder: Path, **options: object) -> Recommender:
    data = _data()
    torch.manual_seed(0)
    texts = torch.randn(len(data.items), 8)
    architecture = CrossEncoder(**{**OPTIONS, **options})
    return _settled(architecture.build(data, texts, Pretrained(str(folder), tune="full")))


@pytest.fixture
def models(shelf):
    """Models by name, made anew."""
    return {"sequential": _sequential, "cross_encoder": lambda: _crossed(shelf("bert"))}


def _batch(model: Recommender):
    return model.data_module.queries("test").rows(slice(0, 5))


def _trial(model: Recommender, batches: int = 2) -> Trial:
    return Trial.of(model, model.data_module, batches, 4)


def _said(model: Recommender) -> Tensor:
    with torch.no_grad():
        return model(_batch(model))


def _pruned(model: Recommender, **options: object) -> Recommender:
    given = {**BARE, **options}
    told: list[str] = []
    return StructuredPruning(**given).compress(copy.deepcopy(model), model.data_module, told.append)


def _loss(trial: Trial, at: int) -> Tensor:
    """The training loss, as `training_step` adds it up."""
    torch.manual_seed(at)
    return sum(trial.model.loss(trial.batches[at]).values())


# What is left says what masks say


@pytest.mark.parametrize("name", ["sequential", "cross_encoder"])
def test_nothing_gone_leaves_all_as_it_was(models, name: str):
    model = models[name]()
    before = _said(model)
    for stack in stacks(model):
        for block in stack.blocks:
            for each in units(block).values():
                remove(each, [])
        remove(Layers(stack, tuple(range(len(stack.blocks)))), [])
    assert _said(model).equal(before)


def _gone(model: Recommender, kind: str, seed: int) -> list[tuple[Units, list[int]]]:
    """A random few of each layer's units."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for stack in stacks(model):
        for block in stack.blocks:
            each = units(block)[kind]
            count = int(torch.randint(1, each.count, (), generator=generator))
            found.append((each, torch.randperm(each.count, generator=generator)[:count].tolist()))
    return found


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["heads", "width"])
@pytest.mark.parametrize("name", ["sequential", "cross_encoder"])
def test_units_taken_out_are_units_that_add_nothing(models, name, kind, implementation):
    """In the whole model, the weights by which they are read are 0 instead."""
    model = models[name]()
    if name == "cross_encoder":
        model.language.transformer.set_attn_implementation(implementation)
    twin = copy.deepcopy(model)
    for part, out in _gone(twin, kind, 1):
        with torch.no_grad():
            part.reader.weight.view(-1, part.count, part.size)[:, out] = 0
    gone = _gone(model, kind, 1)
    cut(_trial(model), gone)
    assert torch.allclose(_said(model), _said(twin), atol=1e-5)
    inputs = model.embed(_batch(model))
    maps = zip(model.attend(inputs), twin.attend(inputs), strict=True)
    stack = stacks(model)[0]
    heads = {part: out for part, out in gone if kind == "heads"}
    for block, (mine, whole) in zip(stack.blocks, maps, strict=True):
        out = next(
            (out for part, out in heads.items() if part.reader is block.attention.reader), []
        )
        left = [head for head in range(whole.shape[1]) if head not in out]
        assert torch.allclose(mine, whole[:, left], atol=1e-5)
    with model.watched() as readings:
        model.score(inputs)
    assert [each.shape[1] for each in readings[0].maps] == [b.attention.count for b in stack.blocks]


@pytest.mark.parametrize("gone", [[0], [1], [2], [0, 2]])
def test_layers_taken_out_are_layers_that_change_nothing(gone: list[int]):
    """In the whole model, all that they add is 0 instead."""
    model = _sequential()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for at in gone:
            for parameter in (
                *twin.layers[at].out.parameters(),
                *twin.layers[at].feed.parameters(),
            ):
                parameter.zero_()
    cut(_trial(model), [(Layers(stacks(model)[0], (0, 1, 2)), gone)])
    assert len(model.layers) == 3 - len(gone)
    assert torch.allclose(_said(model), _said(twin), atol=1e-5)


@pytest.mark.parametrize("name", ["sequential", "cross_encoder"])
def test_a_closed_gate_is_as_good_as_gone(models, name: str):
    model = models[name]()
    for stack in stacks(model):
        layers = Layers(stack, tuple(range(len(stack.blocks))))
        gates = torch.ones(layers.count).index_fill(0, torch.tensor([0]), 0)
        with gated([(layers, gates)]):
            masked = _said(model), _trial(model).loss(0).item()
        with gated([(layers, torch.ones(layers.count))]):
            assert torch.allclose(_said(model), _said(copy.deepcopy(model)))
        remove(layers, [0])
        assert torch.allclose(masked[0], _said(model), atol=1e-5)
        assert masked[1] == pytest.approx(_trial(model).loss(0).item(), abs=1e-5)


# How much smaller


def test_the_parameters_of_the_sequential_model_are_as_many_as_they_should_be():
    model = _sequential()
    width, furthest, per_head = 12, model.data_module.options.history, 3
    before = size(model)["parameters"]
    head = 3 * per_head * (width + 1) + per_head * width + furthest + 2
    unit = 2 * width + 1
    made = _pruned(model, heads=0.5, width=0.25)
    assert before - size(made)["parameters"] == 6 * head + 36 * unit
    layer = sum(parameter.numel() for parameter in model.layers[0].parameters())
    assert before - size(_pruned(model, layers=0.6))["parameters"] == 2 * layer


def test_the_parameters_of_a_language_model_are_as_many_as_they_should_be(shelf):
    model = _crossed(shelf("bert"))
    width, per_head = 16, 8
    head, unit = 3 * per_head * (width + 1) + per_head * width, 2 * width + 1
    made = _pruned(model, heads=0.5, width=0.5, only=["language"])
    gone = size(model)["parameters"] - size(made)["parameters"]
    assert gone == 2 * head + 24 * unit
    made = _pruned(model, layers=0.5, only=["language"])
    layer = sum(parameter.numel() for parameter in model.language.layers[0].parameters())
    assert size(model)["parameters"] - size(made)["parameters"] == layer
    assert len(made.language.layers) == 1


def test_names_choose_what_is_pruned(shelf):
    model = _crossed(shelf("bert"))
    form = StructuredPruning(width=0.5).form
    before = form(model)
    made = form(_pruned(model, width=0.5, only=["retriever.layers.1"]))
    assert made[WORDS] == before[WORDS]
    assert [each["width"] for each in made["retriever.layers"]] == [32, 16]
    everything = form(_pruned(model, width=0.5))
    assert [sum(each["width"] for each in of) for of in everything.values()] == [24, 32]


def test_steps_come_to_the_same_shares():
    model = _sequential()
    for importance in ("magnitude", "taylor", "learned"):
        shares = {"heads": 0.5, "width": 0.3, "layers": 0.34, "importance": importance}
        made = _pruned(model, steps=3, **shares)
        blocks = stacks(made)[0].blocks
        assert len(blocks) == 2
        assert sum(block.attention.count for block in blocks) == 4
        assert sum(block.feed.count for block in blocks) == 67  # of 96, 29 went


# The contract


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "learned"])
@pytest.mark.parametrize("name", ["sequential", "cross_encoder"])
def test_the_contract_holds(models, name: str, importance: str):
    made = _pruned(models[name](), heads=0.5, width=0.4, importance=importance)
    check_model(made, _batch(made))
    made = _pruned(models[name](), layers=0.5, importance=importance)
    check_model(made, _batch(made))


def test_gradients_stay_true_and_the_model_before_as_it_was(models):
    for make in models.values():
        model = make()
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        step = StructuredPruning(heads=0.5, width=0.4, layers=0.5, **BARE)
        found = take(step, model, model.data_module, lambda text: None)
        assert found.gradients.cosine > 0.999
        assert found.model.slope.trusted
        assert found.after["bytes"] < found.before["bytes"]
        assert model.state_dict().keys() == state.keys()
        assert all(tensor.equal(state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["sequential", "cross_encoder"])
def test_it_chains_and_is_built_again(models, name: str):
    model, steps = models[name](), []
    fresh = copy.deepcopy(model)
    for shares in ({"heads": 0.5}, {"layers": 0.34, "width": 0.3}, {"width": 0.3}):
        step = StructuredPruning(**BARE, **shares)
        found = take(step, model, model.data_module, lambda text: None)
        model = found.model
        steps.append((step, found.told()))
    for parameter in fresh.parameters():
        parameter.data.normal_()
    again = rebuilt(fresh, steps, flat(model), "here")
    assert _said(again).equal(_said(model))
    assert steps[-1][0].form(model) == steps[-1][1]["form"]


def test_an_encoder_that_learns_reads_the_catalogue_again(shelf):
    data = _data()
    torch.manual_seed(0)
    encoder = Pretrained(str(shelf("bert")), tune="full")
    texts = encoder.encode(data.texts)
    built = Sequential(width=8, layers=2).build(data, texts, encoder)
    model = _settled(built)
    made = _pruned(model, heads=0.5, width=0.5)
    assert [each["heads"] for each in StructuredPruning(0.5).form(made)[f"reading.{WORDS}"]] == [
        1,
        1,
    ]
    assert not torch.allclose(made.texts, model.texts, atol=1e-3)
    assert torch.allclose(made.texts, made.reading.everything(), atol=1e-6)
    check_model(made, _batch(made))


def test_training_after_it_does_not_make_it_worse(tiny_run):
    """And it reports; the best of all epochs is kept, the pruned model's own among them."""
    shares = {"width": 0.8, "importance": "magnitude", "steps": 2, "batches": 2}
    told: list[str] = []
    model, data = tiny_run.model, tiny_run.data
    bare = take(StructuredPruning(epochs=0, **shares), model, data, told.append)
    assert told == [
        "  pruned, 1 of 2: layers has 1 layer, 2 attention heads, 38 hidden units",
        "  pruned, 2 of 2: layers has 1 layer, 2 attention heads, 13 hidden units",
    ]
    tuned = take(StructuredPruning(epochs=2, lr=0.01, **shares), model, data, told.append)
    assert tuned.after[QUALITY] > bare.after[QUALITY]
    assert tuned.after["parameters"] == bare.after["parameters"]


# Which units go


def _by_channels(part: Units, of) -> Tensor:
    """(n,) sums over a unit's weights of what `of` says of a weight."""
    writers = [of(each.weight).sum(1) for each in part.writers]
    made = [each for whole in writers for each in whole.split(part.reader.in_features)]
    channels = sum(made) + of(part.reader.weight).sum(0)
    return channels.view(part.count, part.size).sum(1)


@pytest.mark.parametrize("kind", ["heads", "width"])
@pytest.mark.parametrize("name", ["sequential", "cross_encoder"])
def test_importance_is_as_computed_by_hand(models, name: str, kind: str):
    model = models[name]()
    trial = _trial(model, batches=3)
    for pool in Whole.of(model, []).pools(kind, 0.5):
        squares = [_by_channels(part, lambda weight: weight.square()) for part in pool.parts]
        for mine, square in zip(magnitude(trial, pool), squares, strict=True):
            assert torch.allclose(mine / mine.mean(), square / square.mean(), rtol=1e-4)
        wanted = [torch.zeros(part.count) for part in pool.parts]
        for at in range(3):
            model.zero_grad()
            _loss(trial, at).backward()
            for whole, part in zip(wanted, pool.parts, strict=True):
                slopes = {id(m.weight): m.weight.grad for m in (*part.writers, part.reader)}
                whole += _by_channels(part, lambda w, s=slopes: (w * s[id(w)]).abs())
        model.zero_grad()
        found = taylor(trial, pool)
        ratios = torch.cat([a / b for a, b in zip(found, wanted, strict=True)])
        assert torch.allclose(ratios, ratios.mean(), rtol=1e-3)
        assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("importance", [magnitude, taylor])
def test_layers_are_scored_by_the_loss_without_them(importance):
    model = _sequential()
    trial = _trial(model)
    (pool,) = Whole.of(model, []).pools("layers", 0.5)
    wanted = []
    for at in range(3):
        twin = copy.deepcopy(model)
        twin.layers = nn.ModuleList(each for i, each in enumerate(twin.layers) if i != at)
        other = Trial(twin, trial.batches)
        wanted.append(sum(_loss(other, each).item() for each in range(2)) / 2)
    (found,) = importance(trial, pool)
    assert found.tolist() == pytest.approx(wanted, abs=1e-5)


SCORES = st.lists(
    st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=6), min_size=1, max_size=4
)


@given(SCORES, st.data())
@settings(deadline=None)
def test_the_weakest_go_and_the_best_of_each_part_stays(scores: list[list[float]], data):
    total = sum(map(len, scores))
    kept = data.draw(st.integers(len(scores), total))
    gone = weakest([torch.tensor(each) for each in scores], kept)
    assert sum(map(len, gone)) == total - kept
    assert all(len(out) < len(each) for out, each in zip(gone, scores, strict=True))
    out = [part[at] for part, some in zip(scores, gone, strict=True) for at in some]
    rest = [
        [value for at, value in enumerate(part) if at not in some]
        for part, some in zip(scores, gone, strict=True)
    ]
    assert all(max(part) == max(left) for part, left in zip(scores, rest, strict=True))
    spare = [value for left in rest for value in sorted(left)[:-1]]  # could have gone instead
    assert not out or not spare or max(out) <= min(spare)


@given(st.lists(st.floats(-2, 3, width=32), min_size=1, max_size=8), st.floats(0.1, 8))
@settings(deadline=None)
def test_bounded_gates_are_the_nearest(gates: list[float], most: float):
    """No step towards another point within the bounds comes nearer (the variational inequality)."""
    given = torch.tensor(gates, dtype=torch.double)
    found = bounded(given, most)
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.sum() <= most + 1e-6
    others = torch.rand(50, len(gates), generator=torch.Generator().manual_seed(0)).double()
    others = others * (most / others.sum(1, keepdim=True)).clamp(max=1)
    assert (((given - found) * (others - found)).sum(1) <= 1e-6).all()


def _fitted(model: Recommender, unread: list[tuple[Units, Tensor]] = ()) -> Trial:
    """Three batches that a model's layers are fitted to, while some units (n,) bool are unread."""
    trial = _trial(model, 3)
    learning = [p for p in model.layers.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=0.02)
    for at in (*range(60), None):
        with torch.no_grad():
            for part, out in unread:
                part.reader.weight.view(-1, part.count, part.size)[:, out] = 0
        if at is not None:
            optimizer.zero_grad()
            trial.loss(at % 3).backward()
            optimizer.step()
    return trial


@pytest.mark.parametrize(("kind", "every"), [("heads", 2), ("width", 8)])
@pytest.mark.parametrize("importance", [taylor, learned])
def test_units_planted_as_useless_go_before_any_of_use(importance, kind: str, every: int):
    """One of so many is read; of use are those of which each alone is missed by the loss."""
    model = _sequential(layers=2, dropout=0.0)
    parts = [units(block)[kind] for block in stacks(model)[0].blocks]
    unread = [torch.arange(part.count) % every > 0 for part in parts]
    trial = _fitted(model, list(zip(parts, unread, strict=True)))

    def lost(out: list[Tensor]) -> float:
        """The loss without units (n,) bool of each part."""
        closed = [(~each).float() for each in out]
        with torch.no_grad(), gated(zip(parts, closed, strict=True)):
            return sum(trial.loss(each).item() for each in range(3)) / 3

    none = [torch.zeros_like(each) for each in unread]
    whole = lost(none)
    assert lost(unread) == pytest.approx(whole, abs=1e-6)
    (pool,) = Whole.of(model, []).pools(kind, 1 - 1 / every)
    gone = weakest(importance(Trial(model, trial.batches * 8), pool), pool.kept)
    out = [each.index_fill(0, torch.tensor(at), True) for each, at in zip(none, gone, strict=True)]
    assert lost(out) < whole + 1e-3
    for part, each in enumerate(out):
        for unit in each.nonzero()[:, 0]:
            alone = [row.clone() for row in none]
            alone[part][unit] = True
            assert lost(alone) < whole + 1e-3


def test_a_layer_planted_as_useless_goes_first():
    model = _sequential(dropout=0.0)
    for idle in (model.layers[1].out, model.layers[1].feed[2]):
        for parameter in idle.parameters():
            parameter.requires_grad_(False).zero_()
    trial = Trial(model, _fitted(model).batches * 4)
    (pool,) = Whole.of(model, []).pools("layers", 0.34)
    for importance in (taylor, learned):
        assert weakest(importance(trial, pool), pool.kept) == [[1]]


# Bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing would go: set heads, width or layers to a share above 0"),
        ({"heads": 1.0}, "heads is 1.0, it must be between 0 and 1: the share that goes"),
        ({"width": -0.5}, "width is -0.5, it must be between 0 and 1"),
        ({"layers": 1.5}, "layers is 1.5, it must be between 0 and 1"),
        ({"heads": 0.5, "importance": "tailor"}, "importance is 'tailor': did you mean 'taylor'?"),
        ({"heads": 0.5, "steps": 0}, "steps is 0, it must be at least 1"),
        ({"heads": 0.5, "epochs": -1}, "epochs is -1, it must be at least 0"),
        ({"heads": 0.5, "lr": 0.0}, "lr is 0.0, it must be above 0"),
    ],
)
def test_options_are_checked(options: dict, said: str):
    with pytest.raises(ValueError) as raised:
        StructuredPruning(**options)
    assert str(raised.value).startswith(said)


def test_a_recipe_names_the_key(tiny_recipe):
    step = {"name": "structured_pruning", "width": 2}
    with pytest.raises(RecipeError, match=r"compress.*width is 2"):
        Recipe.of({**Recipe.load(tiny_recipe).resolved, "compress": [step]}).check()


@pytest.mark.parametrize(
    ("made", "options", "said"),
    [
        ({"heads": 1}, {"heads": 0.5}, "heads: layers has 3 attention heads, one a layer, too few"),
        ({"layers": 1}, {"layers": 0.5}, "layers: layers has 1 layer, too few for any to go"),
        (
            {},
            {"width": 0.99},
            "width: layers has 144 hidden units, of which a share of 0.99",
        ),
        (
            {},
            {"layers": 0.9},
            "layers: layers has 3 layers, of which a share of 0.9 leaves",
        ),
        ({}, {"heads": 0.01}, "share of 0.01 is none: make it 0.05 or more"),
        ({}, {"width": 0.5, "only": ["layer.1"]}, "go by 'layer.1': did you mean 'layers.1'?"),
    ],
)
def test_models_too_small_and_unknown_names(made: dict, options: dict, said: str):
    with pytest.raises(XrecError) as raised:
        _pruned(_sequential(**made), **options)
    assert str(raised.value).startswith("compressor structured_pruning: ")
    assert said in str(raised.value)


def test_the_least_share_that_is_named_is_enough():
    assert stacks(_pruned(_sequential(), heads=0.05))[0].blocks


def test_gpt2_gives_layers_alone(shelf):
    model = _crossed(shelf("gpt2"))
    for kind, what in (("heads", "attention heads"), ("width", "hidden units")):
        with pytest.raises(XrecError) as raised:
            _pruned(model, **{kind: 0.5})
        assert str(raised.value) == (
            f"compressor structured_pruning: {kind}: torch-pruning cannot take {what} out of "
            "language.transformer.h.0 (GPT2Block), whose maps are fused, rounded or of another "
            f"kind than those known: choose other layers by `only`, leave out {kind}, or prune "
            "before other steps"
        )
    made = _pruned(model, layers=0.5, only=["language"])
    assert len(made.language.layers) == 1
    check_model(made, _batch(made))


def test_heads_that_others_count_on_are_refused(shelf):
    """MPNet has a bias by distance for each head, which is not of the layers."""
    with pytest.raises(XrecError, match=r"cannot be taken out of the model CrossEncoderRec.*more"):
        _pruned(_crossed(shelf("mpnet")), heads=0.5)


def test_a_fused_map_in_another_order_is_refused():
    """Queries, keys and values of one head after those of another would be cut across."""
    model = _sequential()
    layer = model.layers[1]
    order = torch.arange(36).view(3, 4, 3).transpose(0, 1).flatten()

    class Interleaved(nn.Linear):
        def forward(self, hidden: Tensor) -> Tensor:
            made = super().forward(hidden)
            heads = made.shape[-1] // 9
            return made.view(*made.shape[:-1], heads, 3, 3).transpose(-3, -2).flatten(-3)

    mixed = Interleaved(12, 36)
    with torch.no_grad():
        mixed.weight.copy_(layer.qkv.weight[order])
        mixed.bias.copy_(layer.qkv.bias[order])
    before = _said(model)
    layer.qkv = mixed
    assert torch.allclose(_said(model), before, atol=1e-6)
    with pytest.raises(XrecError, match="Layer says something else then"):
        _pruned(model, heads=0.5, only=["layers.1"])


@pytest.mark.parametrize("name", ["sequential", "cross_encoder"])
def test_rounded_weights_are_refused(models, name: str):
    torchao = pytest.importorskip("torchao.quantization")
    model = models[name]()
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    with pytest.raises(XrecError, match=r"structured_pruning: .* prune before other steps"):
        _pruned(model, width=0.5)


def test_a_model_without_a_transformer_is_refused(tiny_run):
    class Bare(nn.Module):
        pass

    with pytest.raises(XrecError, match="the model Bare has no transformer of which"):
        Whole.of(Bare(), [])


def test_a_missing_package_is_named(monkeypatch):
    for name in ("structured_pruning", "surgery", "importance", "shares"):
        monkeypatch.delitem(sys.modules, f"xrec_plugins.compressors.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(PluginError) as raised:
        factory("compressor", "structured_pruning")
    assert str(raised.value) == (
        "compressor 'structured_pruning' needs the package torch_pruning: "
        "pip install 'xrec[torch_pruning]'"
    )


# A run


def test_a_run_prunes_twice_and_is_opened_again(tiny_recipe, tmp_path):
    step = {"name": "structured_pruning", "batches": 2, "max_quality_drop": 1}
    chain = [
        {**step, "layers": 0.34, "heads": 0.5, "epochs": 1},
        {**step, "width": 0.5, "importance": "learned", "epochs": 0},
    ]
    recipe = Recipe.load(tiny_recipe, ["model.layers=3", "explain=[]", "fidelity=[]"])
    done = run(Recipe.of({**recipe.resolved, "compress": chain}), tmp_path)
    first, second = (done.store.json(f"{name}.json") for name in done.steps)
    assert [each["heads"] for each in first["form"]["layers"]] == [1, 1]
    assert [each["place"] for each in second["form"]["layers"]] == [0, 1]
    assert sum(each["width"] for each in second["form"]["layers"]) == 64
    batch = done.data.queries("test")
    opened = Run.open(done.folder)
    with torch.no_grad():
        assert opened.model.catalogue(batch).equal(done.model.catalogue(batch))
    assert len(opened.trained.layers) == 3


# The real model


@pytest.mark.slow
@pytest.mark.parametrize("importance", ["magnitude", "taylor", "learned"])
def test_minilm_is_pruned(importance: str):
    data = _data()
    torch.manual_seed(0)
    encoder = Pretrained(tune="full")
    options = {"tokens": 96, "rows": 2, "candidates": 4, "retriever": {"width": 8}}
    model = CrossEncoder(**options).build(data, torch.randn(len(data.items), 8), encoder)
    model.settle()
    shares = {"heads": 0.25, "width": 0.5, "layers": 0.5, "only": ["language"]}
    made = _pruned(model.eval(), importance=importance, steps=2, **shares)
    width, per_head = 384, 32
    head, unit = 3 * per_head * (width + 1) + per_head * width, 2 * width + 1
    layer = sum(parameter.numel() for parameter in model.language.layers[0].parameters())
    gone = 3 * layer + 9 * head + 3 * 768 * unit
    assert size(model)["parameters"] - size(made)["parameters"] == gone
    check_model(made, _batch(made))
    again = StructuredPruning(**shares).shaped(model, StructuredPruning(**shares).form(made))
    again.load_state_dict(made.state_dict())
    assert _said(again).equal(_said(made))
