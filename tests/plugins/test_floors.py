"""The floors that an explainer has to beat: leave-one-out, recency and random."""

from __future__ import annotations

import pytest
import torch
from explain.toys import contributions, masked_score, random_toy

from xrec.data.features import BEHAVIOUR
from xrec.explain.game import Game
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec_plugins.explainers.leave_one_out import LeaveOneOut
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


@pytest.mark.parametrize("floor", [Recency(), Random()])
def test_floors_ask_for_the_score_and_the_base_alone(floor) -> None:
    model, inputs = sequential()
    told = floor.explain(model, inputs, logit)
    game = Game(model, inputs)
    assert torch.equal(told.score, game.everything())
    assert torch.equal(told.base, game.nothing())
    assert (told.cost.forward, told.cost.backward) == (2 * len(inputs), 0)


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
