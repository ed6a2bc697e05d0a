"""Every explainer that plays on masks: on words and on events, for a logit, a margin and a task."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from explain.toys import masked_score, random_toy, shapley
from tongues import bytes_of, saved, word_pieces

from xrec.data.module import Data
from xrec.data.tasks import KNOWN
from xrec.explain.game import Game
from xrec.explain.target import Target, logit, margin, task
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.models.words import WordByWord
from xrec.testing import check_explainer, small_data
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.explainers.captum_kernel_shap import CaptumKernelShap
from xrec_plugins.explainers.feature_ablation import FeatureAblation
from xrec_plugins.explainers.kernel_shap import KernelShap
from xrec_plugins.explainers.lime import Lime
from xrec_plugins.explainers.occlusion import Occlusion
from xrec_plugins.explainers.partition_shap import PartitionShap
from xrec_plugins.explainers.permutation_shap import PermutationShap
from xrec_plugins.explainers.shapley_sampling import ShapleySampling
from xrec_plugins.models.cross_encoder import CrossEncoder
from xrec_plugins.models.sequential import Sequential

FEW = {
    CaptumKernelShap: {"evaluations": 60},
    FeatureAblation: {},
    KernelShap: {"evaluations": 60},
    Lime: {"evaluations": 60},
    Occlusion: {},
    PartitionShap: {"evaluations": 60},
    PermutationShap: {"permutations": 1},
    ShapleySampling: {"permutations": 2},
}
#: Options, at which an explainer of whole events gives their Shapley values, or close to them.
MANY = {
    KernelShap: ({"evaluations": 300}, 1e-4),
    PermutationShap: ({"permutations": 100}, 0.2),
    ShapleySampling: ({"permutations": 200}, 0.2),
    CaptumKernelShap: ({"evaluations": 2000}, 0.2),
}
EVERY = pytest.mark.parametrize("kind", FEW, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recommender, Inputs]:
    """A tiny cross-encoder of two tasks, and two users' inputs with their runners-up."""
    folder: Path = saved("bert", tmp_path_factory.mktemp("bert"), bytes_of("<s>"))
    world = small_data(history=3)
    items = world.tables.items.with_columns(text=world.tables.items["title"])
    tables = world.tables.replace(items=items, users=world.tables.users.select("user", "age"))
    data = Data(tables, world.options, world.train, 0, [KNOWN["click"], KNOWN["rating"]])
    torch.manual_seed(0)
    options = CrossEncoder(tokens=64, item_tokens=9, candidates=4, rows=3, retriever={"width": 8})
    encoder = Pretrained(str(folder), tune="full")
    model = options.build(data, torch.randn(len(data.items), 8), encoder).eval()
    with torch.no_grad():
        inputs = model.embed(data.queries("test", torch.arange(1, 3)))
    return model, inputs.against(torch.tensor([[4, 5], [6, 7]]))


def wholes(inputs: Inputs, row: int) -> dict[int, list[int]]:
    """The words of each event, profile value and candidate."""
    found: dict[int, list[int]] = {}
    for slot in inputs.players[row].nonzero()[:, 0].tolist():
        found.setdefault(int(inputs.features.whole[row, slot]), []).append(slot)
    return found


@EVERY
@pytest.mark.parametrize("level", ["part", "whole"])
def test_keeps_the_contract_on_words(words, kind, level: str) -> None:
    check_explainer(kind(level=level, **FEW[kind]), *words)


@EVERY
@pytest.mark.parametrize(("target", "place"), [(margin, "margin"), (task(1), "task")])
def test_explains_margins_and_tasks(words, kind, target: Target, place: str) -> None:
    model, inputs = words
    explainer = kind(level="whole", **FEW[kind])
    told = explainer.explain(model, inputs, target)
    game = Game(model, inputs, target)
    assert torch.allclose(told.score, game.everything(), atol=1e-5)
    assert torch.allclose(told.base, game.nothing(), atol=1e-5)
    plain = explainer.explain(model, inputs, logit)
    assert not torch.allclose(told.values, plain.values, atol=1e-4)


@EVERY
def test_events_share_their_value_among_their_words(words, kind) -> None:
    model, inputs = words
    told = kind(level="whole", **FEW[kind]).explain(model, inputs, logit)
    for row in range(2):
        for whole, mine in wholes(inputs, row).items():
            each = told.values[row, mine]
            assert torch.allclose(each, each[:1].expand_as(each))
            summed = told.summed()
            assert float(summed.values[row, whole]) == pytest.approx(float(each.sum()), abs=1e-5)
            assert bool(summed.present[row, whole])


@pytest.mark.parametrize("kind", MANY, ids=lambda kind: kind.__name__)
def test_events_by_enumeration(words, kind) -> None:
    (model, inputs), row = words, 0
    options, share = MANY[kind]
    events = wholes(inputs, row)
    assert len(events) <= 6

    def value(inside: frozenset[int]) -> float:
        return masked_score(model, inputs, row, [s for whole in inside for s in events[whole]])

    exact = shapley(value, list(events))
    told = kind(level="whole", **options).explain(model, inputs, logit).summed()
    found = told.values[row, list(events)]
    expected = torch.tensor([exact[whole] for whole in events])
    assert expected.abs().max() > 1e-3
    assert float((found - expected).abs().max()) <= share * float(expected.abs().max()) + 1e-5


def test_ablation_of_events_by_hand(words) -> None:
    model, inputs = words
    told = FeatureAblation(level="whole").explain(model, inputs, logit).summed()
    for row in range(2):
        events = wholes(inputs, row)
        for whole in events:
            rest = [slot for other, mine in events.items() if other != whole for slot in mine]
            lost = float(told.score[row]) - masked_score(model, inputs, row, rest)
            assert float(told.values[row, whole]) == pytest.approx(lost, abs=1e-5)


@EVERY
def test_both_levels_are_one_where_nothing_has_parts(kind) -> None:
    model, inputs = random_toy(rows=2, slots=6, seed=0)
    one, two = (
        kind(level=level, **FEW[kind]).explain(model, inputs, logit) for level in ("part", "whole")
    )
    assert torch.equal(one.values, two.values)


@EVERY
def test_a_row_with_nothing_else_and_one_with_one_feature(kind) -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=0)
    present = inputs.features.fixed.clone()
    present[1, 3] = True  # of the others nothing but what is fixed
    told = kind(**FEW[kind]).explain(model, inputs.with_present(present), logit)
    assert told.values[[0, 2]].abs().max() == 0
    assert told.values[1].nonzero().tolist() == [[3]]
    assert torch.allclose(told.values[1, 3], told.score[1] - told.base[1], atol=1e-4)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recommender, Inputs, Recommender]:
    """A sequential model with one event read word by word, inputs of it, and the model itself."""
    data = small_data(history=3)
    folder = saved("bert", tmp_path_factory.mktemp("words"), word_pieces(data.texts))
    encoder = Pretrained(str(folder))
    torch.manual_seed(0)
    model = Sequential(width=8).build(data, encoder.encode(data.texts), encoder).eval()
    words = WordByWord(model, encoder.language(), encoder.max_tokens).eval()
    with torch.no_grad():
        return words, words.embed(data.queries("test", torch.arange(1, 3))), model


@EVERY
def test_an_event_read_by_words_is_as_a_whole_what_it_was(opened, kind) -> None:
    words, inputs, model = opened
    explainer = kind(level="whole", **FEW[kind])
    told = explainer.explain(words, inputs, logit).summed()
    with torch.no_grad():
        plain = explainer.explain(
            model, model.embed(model.data_module.queries("test", torch.arange(1, 3))), logit
        )
    slots = plain.values.shape[1]
    assert inputs.players.sum() > plain.present.sum() + 4  # there are words
    assert torch.allclose(told.values[:, :slots], plain.values, atol=1e-4)
    check_explainer(kind(**FEW[kind]), words, inputs)
