"""The floors that an explainer has to beat: leave-one-out, recency, popularity, text, chance."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from explain.toys import contributions, masked_score, random_toy

from xrec.data.features import BEHAVIOUR, FeatureIndex
from xrec.errors import XrecError
from xrec.explain.game import Game
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec.testing.toys import LinearToy
from xrec_plugins.explainers.item_cosine import ItemCosine
from xrec_plugins.explainers.leave_one_out import LeaveOneOut
from xrec_plugins.explainers.popularity import Popularity
from xrec_plugins.explainers.random import Random
from xrec_plugins.explainers.recency import Recency


def toy() -> tuple[Recommender, Inputs]:
    return random_toy(rows=4, slots=6, seed=0)


def sequential() -> tuple[Recommender, Inputs]:
    return small_model(history=6, users=5)


@pytest.mark.parametrize("make", [toy, sequential])
@pytest.mark.parametrize("absent", ["remove", "baseline"])
def test_leave_one_out_by_hand(make, absent: str) -> None:
    model, inputs = make()
    told = LeaveOneOut(absent).explain(model, inputs, logit)
    for row in range(len(inputs)):
        players = inputs.players[row].nonzero()[:, 0].tolist()
        score = masked_score(model, inputs, row, players)
        base = masked_score(model, inputs, row, (), absent)
        assert float(told.score[row]) == pytest.approx(score, abs=1e-5)
        assert float(told.base[row]) == pytest.approx(base, abs=1e-5)
        for slot in range(inputs.present.shape[1]):
            rest = set(players) - {slot}
            lost = score - masked_score(model, inputs, row, rest, absent)
            assert float(told.values[row, slot]) == pytest.approx(lost, abs=1e-5)


def test_leave_one_out_counts_each_feature_once() -> None:
    for make in (toy, sequential):
        model, inputs = make()
        cost = LeaveOneOut().explain(model, inputs, logit).cost
        several = inputs.players.sum(1) != 1  # the only one's absence is the base
        assert cost.forward == int(inputs.players[several].sum()) + 2 * len(inputs)
        assert cost.backward == 0


def test_leave_one_out_is_exact_where_features_add_up_and_blind_to_pairs() -> None:
    model, inputs = random_toy(rows=4, slots=6, seed=1, pairs=False)
    told = LeaveOneOut().explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs))
    assert told.error.max() < 1e-9
    model, inputs = random_toy(rows=4, slots=6, seed=1, pairs=True)
    told = LeaveOneOut().explain(model, inputs, logit)
    assert told.error.max() > 0.1  # a pair's product is counted twice
    assert torch.equal(told.error, (told.values.sum(1) - (told.score - told.base)).abs())


def test_leave_one_out_refuses_an_unknown_operator() -> None:
    with pytest.raises(ValueError, match="absent is 'drop', not remove or baseline"):
        LeaveOneOut("drop")


def test_recency_ranks_events_from_the_last() -> None:
    model, inputs = sequential()
    told = Recency().explain(model, inputs, logit)
    events = (inputs.features.group == BEHAVIOUR) & inputs.present
    assert (events.sum(1) < 6).any()  # a row with padding before its events
    for row in range(len(inputs)):
        slots = events[row].nonzero()[:, 0].tolist()
        expected = [1 / place for place in range(len(slots), 0, -1)]
        assert told.values[row, slots].tolist() == pytest.approx(expected)
        assert told.top(len(slots))[row].tolist() == slots[::-1]
    assert not told.values[~events].any()


def test_recency_counts_only_events_that_are_there() -> None:
    model, inputs = sequential()
    present = inputs.present.clone()
    present[:, 4] = False  # the last but one of six
    told = Recency().explain(model, inputs.with_present(present), logit)
    assert told.values[:, 5].tolist() == [1] * 5
    assert told.values[:, 4].tolist() == [0] * 5
    assert told.values[:, 3].tolist() == [1 / 2] * 5


def test_recency_does_not_look_at_the_model() -> None:
    model, inputs = sequential()
    told = Recency().explain(model, inputs, logit)
    other = inputs.with_values(torch.randn_like(inputs.values))
    assert torch.equal(Recency().explain(model, other, logit).values, told.values)


@pytest.mark.parametrize("floor", [Recency(), Popularity(), ItemCosine(), Random()])
def test_floors_ask_for_the_score_and_the_base_alone(floor) -> None:
    model, inputs = sequential()
    told = floor.explain(model, inputs, logit)
    game = Game(model, inputs)
    assert torch.equal(told.score, game.everything())
    assert torch.equal(told.base, game.nothing())
    assert (told.cost.forward, told.cost.backward) == (2 * len(inputs), 0)


def test_popularity_is_how_often_an_item_was_had_in_training() -> None:
    model, inputs = sequential()
    data = model.data_module
    had: Counter[str] = Counter()
    for _, events in data.tables.interactions.sort("user", "time").group_by("user"):
        had.update(events.sort("time")["item"][:-2])  # the last two are held out
    told = Popularity().explain(model, inputs, logit)
    events = (inputs.features.group == BEHAVIOUR) & inputs.present
    for row, slot in events.nonzero().tolist():
        item = data.items.ids[int(inputs.features.key[row, slot])]
        assert float(told.values[row, slot]) == pytest.approx(math.log(1 + had[item]), abs=1e-6)
    assert told.values[events].unique().numel() > 2
    assert not told.values[~events].any()


def test_item_cosine_by_hand() -> None:
    model, inputs = sequential()
    texts = model.text_vectors()
    told = ItemCosine().explain(model, inputs, logit)
    events = (inputs.features.group == BEHAVIOUR) & inputs.present
    for row, slot in events.nonzero().tolist():
        assert inputs.item is not None
        mine, other = texts[inputs.features.key[row, slot]], texts[inputs.item[row]]
        cosine = float(mine @ other) / math.sqrt(float(mine @ mine) * float(other @ other))
        assert float(told.values[row, slot]) == pytest.approx(cosine, abs=1e-5)
    assert not told.values[~events].any()


def test_item_cosine_follows_the_item() -> None:
    model, inputs = sequential()
    with torch.no_grad():
        told = ItemCosine().explain(model, inputs, logit).values
        items = inputs.features.key[:, 5]  # each user's last event
        other = ItemCosine().explain(model, model.exchanged(inputs, items), logit).values
    assert other[:, 5].tolist() == pytest.approx([1.0] * 5)
    assert not torch.equal(told[:, :5], other[:, :5])
    assert torch.equal(told[3:4], ItemCosine().explain(model, inputs.rows([3]), logit).values)


@pytest.mark.parametrize("floor", [Popularity(), ItemCosine()])
def test_words_share_their_event_s_value_evenly(floor) -> None:
    model, inputs = sequential()
    whole = floor.explain(model, inputs, logit)
    told = floor.explain(Deaf(model.data_module, model.text_vectors()), _in_words(inputs), logit)
    assert torch.allclose(told.summed().values[:, : inputs.present.shape[1]], whole.values)
    words = told.values[:, inputs.present.shape[1] :]
    assert torch.allclose(words[:, 0], whole.values[:, 5] / 2)  # two words of three are there
    assert torch.equal(words[:, 0], words[:, 2])
    assert not words[:, 1].any()
    assert not told.values[:, 5].any()  # the event itself is there by its words alone


class Deaf(LinearToy):
    """A model that keeps texts, and to which any slots will do."""

    def __init__(self, data, texts) -> None:
        super().__init__(data)
        self.texts = texts

    def text_vectors(self):
        return self.texts

    def score(self, inputs: Inputs, task: int = 0):
        return torch.zeros(len(inputs))


def _in_words(inputs: Inputs) -> Inputs:
    """The same inputs with the last event's slot opened into three words, the second absent."""
    features, more = inputs.wide(inputs.present.shape[1] + 3).features, slice(-3, None)
    group, key, parent = (t.clone() for t in (features.group, features.key, features.parent))
    group[:, more], key[:, more], parent[:, more] = BEHAVIOUR, 10_000, 5
    present = inputs.wide(group.shape[1]).present.clone()
    present[:, more] = torch.tensor([True, False, True])
    present[:, 5] = False
    wide = inputs.wide(group.shape[1]).with_present(present)
    return replace(wide, features=FeatureIndex(group, key, parent, features.names))


def test_item_cosine_needs_texts_and_an_item() -> None:
    model, inputs = sequential()
    with pytest.raises(XrecError, match=r"the inputs of the model .* do not tell which item"):
        ItemCosine().explain(model, replace(inputs, item=None), logit)
    toy = LinearToy(model.data_module)
    given = toy.embed(model.data_module.queries("test"))
    with pytest.raises(XrecError, match="the model LinearToy keeps no vectors of its items' texts"):
        ItemCosine().explain(toy, given, logit)


def test_random_follows_its_seed() -> None:
    model, inputs = sequential()
    torch.manual_seed(0)
    one = Random(3).explain(model, inputs, logit).values
    torch.manual_seed(1)
    assert torch.equal(Random(3).explain(model, inputs, logit).values, one)
    assert not torch.equal(Random(4).explain(model, inputs, logit).values, one)
    assert not one[~inputs.players].any()


def test_random_is_normal_and_the_same_for_no_two_rows() -> None:
    model, inputs = random_toy(rows=400, slots=11, seed=1, pairs=False)  # not the floor's seed
    told = Random().explain(model, inputs, logit)
    drawn = told.values[inputs.players]
    assert float(drawn.mean()) == pytest.approx(0, abs=0.06)
    assert float(drawn.std()) == pytest.approx(1, abs=0.06)
    assert len(told.values[:, 1:].unique(dim=0)) > 390
