"""One row's game as a function of masks: against inputs built by hand, at both levels."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from explain.toys import contributions, masked_score, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.generators import seeded
from xrec.explain.masks import Found, Masks, check_masks, explain_masks
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


def in_parts(seed: int = 0) -> tuple[Recommender, Inputs]:
    """A toy of nine slots: 0 and 1 have parts and are absent, 2 to 5 and 6 to 7 are these parts."""
    model, inputs = random_toy(rows=3, slots=9, seed=seed, fixed=(8,))
    parent = torch.tensor([-1, -1, 0, 0, 0, 0, 1, 1, -1]).expand(3, -1)
    present = inputs.present & (torch.arange(9) > 1)
    present[:, 2] = True
    return model, Inputs(inputs.values, present, replace(inputs.features, parent=parent))


def test_masks_are_coalitions_of_slots() -> None:
    model, inputs = random_toy(rows=3, slots=6, seed=1, fixed=(2,))
    drawn = torch.rand(20, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    for row in range(3):
        masks = Masks(Game(model, inputs), row)
        players = inputs.players[row].nonzero()[:, 0].tolist()
        assert [mine.tolist() for mine in masks.members] == [[slot] for slot in players]
        some = drawn[:, : len(masks)]
        sets = [{players[at] for at in each.nonzero()[:, 0].tolist()} for each in some]
        expected = [masked_score(model, inputs, row, inside) for inside in sets]
        assert masks.value(some.float()).tolist() == pytest.approx(expected, abs=1e-9)
        assert masks.array(some.numpy()).tolist() == pytest.approx(expected, abs=1e-9)


def test_one_and_zero_are_score_and_base() -> None:
    model, inputs = in_parts()
    game = Game(model, inputs)
    ends = [float(game.everything()[1]), float(game.nothing()[1])]
    for level in ("part", "whole"):
        masks = Masks(game, 1, level)
        both = masks.value(torch.cat([masks.everyone, masks.nobody]))
        assert both.dtype == torch.double
        assert both.tolist() == pytest.approx(ends, abs=1e-9)


def test_wholes_are_in_and_out_with_all_their_parts() -> None:
    model, inputs = in_parts()
    masks = Masks(Game(model, inputs), 0, "whole")
    parts = [[2, 3, 4, 5], [6, 7]]
    there = [[slot for slot in some if inputs.present[0, slot]] for some in parts]
    assert [mine.tolist() for mine in masks.members] == [some for some in there if some]
    found = masks.value(torch.eye(len(masks)))
    expected = [masked_score(model, inputs, 0, some) for some in there if some]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_without_parts_both_levels_are_one() -> None:
    model, inputs = random_toy(rows=2, slots=6, seed=1)
    game = Game(model, inputs)
    one, two = Masks(game, 0), Masks(game, 0, "whole")
    assert [m.tolist() for m in one.members] == [m.tolist() for m in two.members]


@given(seed=st.integers(0, 999), level=st.sampled_from(["part", "whole"]))
@QUICK
def test_what_is_spread_adds_up(seed: int, level: str) -> None:
    model, inputs = in_parts(seed)
    masks = Masks(Game(model, inputs), 0, level)
    values = torch.randn(len(masks), generator=torch.Generator().manual_seed(seed)).double()
    spread = masks.spread(values)
    assert spread.shape == (9,)
    assert not spread[~inputs.players[0]].any()
    for value, mine in zip(values, masks.members, strict=True):
        assert torch.allclose(spread[mine], value / len(mine))


def alone(masks: Masks) -> Found:
    """What each player adds to nobody: in a linear game, its contribution."""
    found = masks.value(torch.eye(len(masks))) - masks.value(masks.nobody)
    return Found(found, deviation=found.abs() / 2)


def told(attribute, model: Recommender, inputs: Inputs, level: str = "part") -> Explanation:
    return explain_masks("mine", attribute, model, inputs, logit, "remove", level)


def test_a_whole_s_value_is_shared_by_its_parts_and_summed_again() -> None:
    toy, inputs = in_parts()
    model = type(toy).__bases__[0](toy.weight.data)  # the additive toy, without its pairs
    parts, wholes = (told(alone, model, inputs, level) for level in ("part", "whole"))
    assert torch.allclose(parts.values, contributions(model, inputs))
    assert torch.allclose(parts.summed().values, wholes.summed().values)
    assert torch.equal(wholes.present, inputs.players)
    assert wholes.error.max() < 1e-9
    assert wholes.deviation is not None
    assert torch.allclose(wholes.deviation, wholes.values.abs() / 2)
    mine = inputs.players[0] & (inputs.features.parent[0] == 0)
    assert len(wholes.values[0, mine].unique()) == 1 < int(mine.sum())


def test_the_gap_is_told_where_it_tells() -> None:
    model, inputs = random_toy(rows=3, slots=6, seed=1)
    many = int(inputs.players.sum(1).max())

    def sometimes(masks: Masks) -> Found:
        return Found(torch.ones(len(masks)), gap_tells=len(masks) < many)

    found = told(sometimes, model, inputs)
    count = inputs.players.sum(1)
    assert torch.equal(found.error.isnan(), count == many)
    gap = (count - (found.score - found.base)).abs()
    assert torch.allclose(found.error[count < many], gap[count < many])
    assert found.deviation is None


def test_a_row_without_players_is_not_asked_about() -> None:
    model, inputs = random_toy(rows=2, slots=4, seed=0)
    inputs = inputs.with_present(inputs.features.fixed | torch.tensor([[True], [False]]))
    asked = []

    def counted(masks: Masks) -> Found:
        asked.append(len(masks))
        return alone(masks)

    found = told(counted, model, inputs)
    assert asked == [3]
    assert not found.values[1].any()
    assert float(found.error[1]) == 0


def test_each_row_draws_the_same() -> None:
    model, inputs = random_toy(rows=3, slots=4, seed=0)
    inputs = inputs.with_present(torch.ones_like(inputs.present))

    def drawn(masks: Masks) -> Found:
        torch_, numpy_, plain = torch.rand(1), np.random.random(), random.random()
        return Found(torch.cat([torch_, torch.tensor([numpy_, plain])]))

    found = told(drawn, model, inputs).values
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], told(drawn, model, inputs).values[2])
    assert len(found[0, 1:].unique()) == 3


def test_generators_are_put_back_after_an_error_too() -> None:
    def state() -> tuple[object, Tensor, list[int]]:
        return random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()

    def draws() -> tuple[float, float, float]:
        return random.random(), float(torch.rand(())), np.random.random()

    before = state()
    with pytest.raises(RuntimeError, match="inside"):
        with seeded(3):
            first = draws()
            raise RuntimeError("inside")
    assert state()[0] == before[0]
    assert torch.equal(state()[1], before[1])
    assert state()[2] == before[2]
    with seeded(3):
        assert draws() == first
    with seeded(4):
        assert draws() != first


@pytest.mark.parametrize(
    ("given_", "complaint"),
    [
        (("drop", "part", {}), "absent is 'drop', not remove or baseline"),
        (("resample", "part", {}), "absent is 'resample', not remove or baseline"),
        (("remove", "event", {}), "level is 'event', not part or whole"),
        (("remove", "part", {"steps": (0, 1)}), "steps is 0, it must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(given_, complaint: str) -> None:
    absent, level, counts = given_
    with pytest.raises(ValueError, match=complaint):
        check_masks(absent, level, **counts)
