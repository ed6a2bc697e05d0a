"""Clustered SHAP against Owen values by enumeration of the orders that keep clusters together."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from explain.toys import Additive, contributions, exact_shapley, masked_score, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.data.features import BEHAVIOUR, ITEM, PROFILE, FeatureIndex
from xrec.explain.game import Game
from xrec.explain.masks import Masks
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec_plugins.explainers.partition_shap import PartitionShap, clusters, needed

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=10)
ALL = 10**6


class Bent(Additive):
    """An additive model's score, bent so that any number of slots interact."""

    def score(self, inputs: Inputs) -> Tensor:
        return super().score(inputs).sin()


def worded() -> tuple[Recommender, Inputs]:
    """Two events of three words and one, a profile value, and a candidate of two views.

    Slots 0 and 1 are the events themselves, absent; the words of the first do not stand together.
    """
    toy, inputs = random_toy(rows=1, slots=9, seed=4, fixed=())
    group = torch.tensor([[BEHAVIOUR] * 6 + [PROFILE, ITEM, ITEM]])
    parent = torch.tensor([[-1, -1, 0, 1, 0, 0, -1, -1, -1]])
    names = {g: tuple("abcdefghi") for g in (BEHAVIOUR, PROFILE, ITEM)}
    features = FeatureIndex(group, inputs.features.key, parent, names)
    present = torch.ones(1, 9, dtype=torch.bool)
    present[:, :2] = False
    return Bent(toy.weight.data / 2), Inputs(inputs.values, present, features)


#: Slots of `worded` as its clusters: three are halved to one and two, of groups and of words.
TREE = (((2, (4, 5)), 3), (6, (7, 8)))


def orders(tree) -> list[list[int]]:
    """The orders in which slots come in, each cluster as one: at each joint either first."""
    if isinstance(tree, int):
        return [[tree]]
    one, two = (orders(part) for part in tree)
    return [a + b for a, b in product(one, two)] + [b + a for a, b in product(one, two)]


def owen(model: Recommender, inputs: Inputs, row: int, tree) -> dict[int, float]:
    """The mean of what each slot adds, over the orders of a tree (Owen, 1977)."""
    every = orders(tree)
    found: dict[int, float] = dict.fromkeys(every[0], 0.0)
    for order in every:
        before = masked_score(model, inputs, row, ())
        for at, slot in enumerate(order):
            after = masked_score(model, inputs, row, order[: at + 1])
            found[slot] += (after - before) / len(every)
            before = after
    return found


def test_the_clusters_are_words_in_events_in_groups() -> None:
    model, inputs = worded()
    masks = Masks(Game(model, inputs), 0)
    players = [int(mine[0]) for mine in masks.members]
    made: list[object] = list(players)
    for left, right, _, size in clusters(masks):
        made.append((made[int(left)], made[int(right)]))
        assert size == len(orders(made[-1])[0])
    # Of three groups the first is one half, of three words the first: {behaviour, {profile, item}}.
    assert made[-1] == TREE


def test_of_wholes_the_events_are_the_leaves() -> None:
    model, inputs = worded()
    masks = Masks(Game(model, inputs), 0, "whole")
    assert [mine.tolist() for mine in masks.members] == [[2, 4, 5], [3], [6], [7], [8]]
    tree = clusters(masks)
    assert tree[0, :2].tolist() == [0, 1]  # the two events
    assert tree[-1, 3] == 5


def test_owen_values_by_enumeration() -> None:
    model, inputs = worded()
    told = PartitionShap(ALL).explain(model, inputs, logit)
    expected = owen(model, inputs, 0, TREE)
    for slot, value in expected.items():
        assert float(told.values[0, slot]) == pytest.approx(value, abs=1e-9)
    exact = exact_shapley(model, inputs)
    assert (told.values - exact).abs().max() > 0.01  # clustered SHAP is not SHAP
    assert float(told.error) < 1e-9


def test_owen_values_of_events_in_a_transformer() -> None:
    model, inputs = small_model(history=2, users=2)
    told = PartitionShap(ALL).explain(model, inputs, logit)
    assert told.error.max() < 1e-5
    for row in range(2):
        masks = Masks(Game(model, inputs), row)
        made: list[object] = [int(mine[0]) for mine in masks.members]
        for left, right, *_ in clusters(masks):
            made.append((made[int(left)], made[int(right)]))
        for slot, value in owen(model, inputs, row, made[-1]).items():
            assert float(told.values[row, slot]) == pytest.approx(value, abs=1e-5)


@given(slots=st.integers(1, 7), seed=st.integers(0, 999))
@QUICK
def test_for_pairs_it_is_shapley_s(slots: int, seed: int) -> None:
    # In half the orders of any tree one of two comes first, so that they share what they do.
    model, inputs = random_toy(2, slots, seed)
    told = PartitionShap(ALL).explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs), atol=1e-6, rtol=0)


@given(slots=st.integers(2, 9), seed=st.integers(0, 999), evaluations=st.integers(4, 60))
@QUICK
def test_complete_whatever_the_evaluations_and_honest_on_the_error(slots, seed, evaluations):
    toy, inputs = random_toy(2, slots, seed)
    model = Bent(toy.weight.data)
    told = PartitionShap(evaluations).explain(model, inputs, logit)
    whole = PartitionShap(ALL).explain(model, inputs, logit)
    assert torch.allclose(told.values.sum(1), told.score - told.base, atol=1e-6)
    assert not whole.error.isnan().any()
    for row in range(2):
        if not told.error[row].isnan():
            assert torch.allclose(told.values[row], whole.values[row], atol=1e-9)
        else:
            tree = clusters(Masks(Game(model, inputs), row))
            assert needed(tree) > evaluations - 2


def test_what_is_left_undivided_is_shared_evenly() -> None:
    model, inputs = worded()
    told = PartitionShap(evaluations=4).explain(model, inputs, logit)  # two halves, and no more
    behaviour, rest = [2, 3, 4, 5], [6, 7, 8]
    a, b, none, both = (
        masked_score(model, inputs, 0, s) for s in (behaviour, rest, [], behaviour + rest)
    )
    mine = (a - none + both - b) / 2
    assert told.values[0, behaviour].tolist() == pytest.approx([mine / 4] * 4, abs=1e-9)
    assert told.values[0, rest].tolist() == pytest.approx([(both - none - mine) / 3] * 3, abs=1e-9)
    assert bool(told.error.isnan())


def test_what_all_of_it_takes() -> None:
    model, inputs = worded()
    tree = clusters(Masks(Game(model, inputs), 0))
    asked: list[int] = []

    def target(model: Recommender, inputs: Inputs) -> Tensor:
        asked.append(len(inputs))
        return model.score(inputs)

    PartitionShap(needed(tree) + 2).explain(model, inputs, target)
    few = sum(asked)
    asked.clear()
    PartitionShap(ALL).explain(model, inputs, target)
    assert few == sum(asked) <= needed(tree) + 4
    assert needed(np.zeros((0, 4))) == 0


def test_the_order_of_the_words_decides_the_clusters_only() -> None:
    model, inputs = worded()
    one = PartitionShap(ALL).explain(model, inputs, logit)
    apart = replace(inputs.features, parent=torch.full_like(inputs.features.parent, -1))
    other = PartitionShap(ALL).explain(model, replace(inputs, features=apart), logit)
    assert torch.allclose(one.values.sum(1), other.values.sum(1))
    assert not torch.allclose(one.values, other.values, atol=1e-3)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="evaluations is 3, it must be at least 4"):
        PartitionShap(evaluations=3)
    with pytest.raises(ValueError, match="absent is 'resample'"):
        PartitionShap(absent="resample")
    with pytest.raises(ValueError, match="level is 'word', not part or whole"):
        PartitionShap(level="word")
