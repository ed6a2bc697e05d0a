"""What an attacker sees is what the model says, and not who is asked about."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from xrec.audit import asking
from xrec.audit.asking import Questions, features, sureness
from xrec.testing import small_data
from xrec.testing.world import SmallEncoder, small_model


def model_of(data):
    from xrec.plugins import factory

    torch.manual_seed(0)
    encoder = SmallEncoder()
    built = factory("model", "sequential")(width=8)
    return built.build(data, encoder.encode(data.texts), encoder).eval()


def test_a_user_is_asked_about_by_every_training_event() -> None:
    data, users = small_data(), torch.tensor([2, 5, 6])
    questions = Questions.of(data, users, seed=0)
    for at, user in enumerate(users.tolist()):
        begin, end = data.events.span(user)
        mine = questions.events.candidate[questions.owner == at].tolist()
        assert mine == data.events.item[begin : end - 2].tolist()
        assert int(questions.last.candidate[at]) == mine[-1]


def test_sureness_by_hand() -> None:
    data, users = small_data(), torch.tensor([2, 5, 6])
    model, questions = model_of(data), Questions.of(data, users, seed=0)
    found = sureness(model, questions)
    for at in range(3):
        events = questions.events.rows((questions.owner == at).nonzero()[:, 0])
        odds = []
        for row in range(len(events)):
            one = events.rows(slice(row, row + 1))
            own = model(one).item()
            others = [model(one.about(item[None])).item() for item in one.negatives[0]]
            odds.append(own - math.log(sum(math.exp(other) for other in others)))
        assert float(found[at]) == pytest.approx(sum(odds) / len(odds), abs=1e-5)


def test_only_the_latest_events_of_long_histories(monkeypatch) -> None:
    monkeypatch.setattr(asking, "EVENTS", 2)
    data, users = small_data(), torch.tensor([2, 5])
    questions = Questions.of(data, users, seed=0)
    for at, user in enumerate(users.tolist()):
        begin, end = data.events.span(user)
        kept = questions.events.candidate[questions.owner == at].tolist()
        assert kept == data.events.item[begin : end - 2].tolist()[-2:]


def test_the_model_is_not_told_who_it_is_asked_about() -> None:
    data, users = small_data(), torch.tensor([2, 5, 6])
    questions = Questions.of(data, users, seed=0)
    assert not questions.events.user.any()
    assert not questions.last.user.any()
    alone = Questions.of(data, users[1:], seed=0)
    some = questions.owner > 0
    assert torch.equal(questions.events.history[some], alone.events.history)


def explanation(error: float = 0.5):
    _, inputs = small_model()
    values = torch.randn(inputs.present.shape, generator=torch.Generator().manual_seed(0))
    from xrec.explain.cost import Cost
    from xrec.explain.explanation import Explanation

    score = torch.zeros(len(inputs.values))
    told = Explanation.of(inputs, values, score, score, Cost(0, 0, 0.0, 0), "some")
    return replace(told, error=torch.full_like(score, error))


def test_features_by_hand() -> None:
    told = explanation()
    found = features(told)
    for row in range(len(told)):
        values = told.values[row][told.present[row]].double()
        share = values.abs() / values.abs().sum()
        expected = [
            values.sum(), values.abs().sum(), values.max().clamp(min=0), values.min().clamp(max=0),
            share.max(), -(share * share.log()).sum(), 0.5,
        ]  # fmt: skip
        assert found[row, :7].tolist() == pytest.approx([float(each) for each in expected])
        groups = found[row, 7:-5]
        assert float(groups.sum()) == pytest.approx(float(values.sum()))
        events = told.values[row][(told.features.group[row] == 1) & told.present[row]]
        last = events.flip(0)[:5].tolist()
        assert found[row, -5:].tolist() == pytest.approx(last + [0.0] * (5 - len(last)))


def test_the_model_s_own_score_is_not_among_them() -> None:
    told = explanation()
    other = replace(told, score=told.score + 7, base=told.base - 3)
    assert torch.equal(features(told), features(other))


def test_an_explainer_without_an_error_of_its_own_says_none() -> None:
    assert torch.equal(features(explanation(math.nan)), features(explanation(0.0)))
