"""Comprehensiveness and sufficiency: by hand, against a loop, and against each other."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from explain.toys import listed, masked_score, ones, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import case, owned

from xrec.errors import RecipeError
from xrec.fidelity.moving import counted
from xrec.filling import fill
from xrec_plugins.metrics.comprehensiveness import Comprehensiveness
from xrec_plugins.metrics.sufficiency import Sufficiency

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=40)
NUMBERS = st.lists(st.integers(-20, 20), min_size=1, max_size=7)


def test_by_hand() -> None:
    # The order is 0, 1, 3, 2; a quarter is slot 0, a half slots 0 and 1.
    inputs = listed([[3, 1, -2, 0.5]])
    told = case(ones(4), inputs, inputs.values[..., 0])
    found = Comprehensiveness([0.25, 0.5]).measure(told)["comprehensiveness"]
    assert found.tolist() == [(3 + 4) / 2]
    assert Sufficiency([0.25, 0.5]).measure(told)["sufficiency"].tolist() == [2.5 - (3 + 4) / 2]


def test_the_items_own_features_stay_and_are_not_counted() -> None:
    inputs = owned(listed([[3, 1, 7]]), [2])
    told = case(ones(3), inputs, torch.tensor([[1.0, 2, 9]]))
    assert Comprehensiveness([0.5]).measure(told)["comprehensiveness"].tolist() == [1]
    assert Sufficiency([0.5]).measure(told)["sufficiency"].tolist() == [3]
    every = {"shares": [0.3], "of": "all"}
    assert Comprehensiveness(**every).measure(told)["comprehensiveness"].tolist() == [7]
    assert Sufficiency(**every).measure(told)["sufficiency"].tolist() == [4]


def test_of_one_feature_every_share_is_that_one() -> None:
    told = case(ones(1), listed([[3]]), torch.zeros(1, 1))
    assert Comprehensiveness().measure(told)["comprehensiveness"].tolist() == [3]
    assert Sufficiency().measure(told)["sufficiency"].tolist() == [0]


@pytest.mark.parametrize("absent", ["remove", "baseline"])
def test_against_a_loop(absent: str) -> None:
    model, inputs = random_toy(rows=4, slots=9, seed=3)
    inputs = owned(inputs, [2, 5])
    values = torch.randn(4, 9, generator=torch.Generator().manual_seed(0)).double()
    told, shares = case(model, inputs, values, absent=absent), [0.1, 0.4, 0.8]
    fall = Comprehensiveness(shares).measure(told)["comprehensiveness"]
    alone = Sufficiency(shares).measure(told)["sufficiency"]
    for row in range(4):
        players = set(inputs.players[row].nonzero()[:, 0].tolist())
        ranked = sorted(players - {2, 5}, key=lambda slot: -values[row, slot])
        score = masked_score(model, inputs, row, players, absent)
        falls, lefts = [], []
        for share in shares:
            first = set(ranked[: math.ceil(Fraction(str(share)) * len(ranked))])
            falls += [score - masked_score(model, inputs, row, players - first, absent)]
            lefts += [score - masked_score(model, inputs, row, first | (players & {2, 5}), absent)]
        assert float(fall[row]) == pytest.approx(sum(falls) / 3, abs=1e-9)
        assert float(alone[row]) == pytest.approx(sum(lefts) / 3, abs=1e-9)


@given(said=NUMBERS, data=st.data())
@QUICK
def test_no_order_of_an_additive_model_beats_the_exact_one(said, data) -> None:
    inputs, model = listed([said]), ones(len(said))
    other = data.draw(st.lists(st.floats(-9, 9), min_size=len(said), max_size=len(said)))
    shares = data.draw(st.lists(st.floats(0.01, 1), min_size=1, max_size=4))
    best = case(model, inputs, inputs.values[..., 0])
    rival = case(model, inputs, torch.tensor([other]).double())
    for metric, sign in ((Comprehensiveness(shares), 1), (Sufficiency(shares), -1)):
        ((mine,), (theirs,)) = (metric.measure(told).values() for told in (best, rival))
        assert sign * float(mine - theirs) >= -1e-9


@given(said=st.lists(st.integers(-20, 20), min_size=10, max_size=10), tenths=st.integers(1, 9))
@QUICK
def test_in_an_additive_model_one_is_the_other_of_the_features_left(said, tenths) -> None:
    inputs = listed([said])
    exact = inputs.values[..., 0]
    alone = Sufficiency([tenths / 10]).measure(case(ones(10), inputs, exact))
    without = Comprehensiveness([1 - tenths / 10]).measure(case(ones(10), inputs, -exact))
    assert alone["sufficiency"].tolist() == without["comprehensiveness"].tolist()


def test_a_share_is_rounded_up_as_decimals_are() -> None:
    # 0.07 of 100 is 7 features, though 0.07 * 100 is 7.000000000000001.
    players = torch.ones(301, 300, dtype=torch.bool).tril(-1)  # 0 to 300 of them
    found = counted([share / 1000 for share in range(1, 1001)], players)
    exact = [[-(-share * n // 1000) for share in range(1, 1001)] for n in range(301)]
    assert found.tolist() == exact


@pytest.mark.parametrize("metric", [Comprehensiveness, Sufficiency])
@pytest.mark.parametrize("shares", [[], [0.0], [0.5, 1.1], [-0.1], [float("nan")]])
def test_shares_must_be_shares(metric: type, shares: list[float]) -> None:
    with pytest.raises(ValueError, match="shares is"):
        metric(shares)


def test_a_recipe_may_list_shares() -> None:
    assert fill(Comprehensiveness, {"shares": [0.3]}, "fidelity[0]").shares == [0.3]
    with pytest.raises(RecipeError, match=r"fidelity\[0\]: shares is \[2.0\]"):
        fill(Sufficiency, {"shares": [2]}, "fidelity[0]")
