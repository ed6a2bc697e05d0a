"""Counterfactuals against all sets of events there are, tried one after the other by hand."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tongues import bytes_of, saved
from torch import Tensor, nn

from xrec.data.features import BEHAVIOUR, FIXED, ITEM, FeatureIndex
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.explain.explanation import Explanation
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import check_explainer, small_data, small_model
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.explainers.counterfactual import Counterfactual
from xrec_plugins.models.cross_encoder import CrossEncoder

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


class Shelf(Recommender):
    """A logit is a state times an item: the state is the sum of the events, which `bend` bends.

    Slots: the events, a fixed one, and the item. `table` (N + 1, D) has the items' vectors.
    """

    def __init__(self, table: Tensor, bend: bool = False) -> None:
        super().__init__(small_data(users=2))
        self.table, self.bend = nn.Parameter(table), bend

    def embed(self, batch):
        raise NotImplementedError("a toy is given its inputs")

    def state(self, inputs: Inputs) -> Tensor:
        mine = inputs.present & (inputs.features.group != ITEM)
        state = torch.where(mine[..., None], inputs.values, 0).sum(1)
        return (3 * state).sin() if self.bend else state

    def score(self, inputs: Inputs) -> Tensor:
        last = torch.where(inputs.present[:, -1:], inputs.values[:, -1], 0)
        return (self.state(inputs) * last).sum(1)

    def exchanged(self, inputs: Inputs, items: Tensor) -> Inputs:
        values, present = inputs.values.clone(), inputs.present.clone()
        values[:, -1], present[:, -1] = self.table[items], True
        return inputs.with_values(values).with_present(present)


def shelf_inputs(model: Shelf, events: Tensor, items: Tensor, rivals: Tensor) -> Inputs:
    """Events (B, L, D), then a fixed slot of ones that is the user, then the item."""
    rows, length, width = events.shape
    fixed = torch.ones(rows, 1, width, dtype=events.dtype)
    values = torch.cat([events, fixed, model.table.data[items][:, None]], dim=1)
    group = torch.tensor([*[BEHAVIOUR] * length, FIXED, ITEM]).expand(rows, -1)
    key = torch.arange(length + 2).expand(rows, -1)
    names = {each: [f"slot {at}" for at in range(length + 2)] for each in (BEHAVIOUR, FIXED, ITEM)}
    features = FeatureIndex(group, key, torch.full_like(key, -1), names)
    return Inputs(values, torch.ones(rows, length + 2, dtype=torch.bool), features, rivals)


def random_shelf(rows: int, events: int, rivals: int, seed: int, bend: bool = False):
    """A toy with whole numbers, so that ties are frequent, and inputs with padding in them."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.randint(-2, 3, size, generator=generator).double()

    model = Shelf(draw(rivals + 2, 2), bend)
    order = torch.stack([1 + torch.randperm(rivals + 1, generator=generator) for _ in range(rows)])
    inputs = shelf_inputs(model, draw(rows, events, 2), order[:, 0], order[:, 1:])
    there = inputs.present.clone()
    there[:, :events] = torch.rand(rows, events, generator=generator) < 0.8
    some = torch.rand(rows, rivals, generator=generator) < 0.9
    return model, inputs.with_present(there).against(torch.where(some, inputs.rivals, 0))


@torch.no_grad()
def among_first(
    model: Recommender, inputs: Inputs, row: int, gone: Collection[int], k: int
) -> bool:
    """Whether an item is among the first k without the slots in `gone`: each item scored alone."""
    one = inputs.rows(slice(row, row + 1))
    present = one.present.clone()
    present[0, list(gone)] = False
    one = one.with_present(present)
    mine = float(model.score(one))
    theirs = [
        float(model.score(model.exchanged(one, torch.tensor([item]))))
        for item in one.rivals[0].tolist()
        if item
    ]
    return sum(each > mine for each in theirs) < k


def events_of(inputs: Inputs, row: int) -> list[list[int]]:
    """The slots of each event of a row."""
    whole: dict[int, list[int]] = {}
    for slot in inputs.players[row].nonzero()[:, 0].tolist():
        if int(inputs.features.group[row, slot]) == BEHAVIOUR:
            parent = int(inputs.features.parent[row, slot])
            whole.setdefault(slot if parent < 0 else parent, []).append(slot)
    return list(whole.values())


def all_smallest(model: Recommender, inputs: Inputs, row: int, k: int) -> list[set[int]]:
    """Every smallest set of slots, made of whole events, without which the item crosses."""
    events, inside = events_of(inputs, row), among_first(model, inputs, row, (), k)
    for size in range(1, len(events) + 1):
        sets = [set().union(*chosen) for chosen in combinations(events, size)]
        found = [gone for gone in sets if among_first(model, inputs, row, gone, k) is not inside]
        if found:
            return found
    return []


def members(told: Explanation, row: int) -> set[int]:
    return set(told.removal.members[row].nonzero()[:, 0].tolist())


def agree(model: Recommender, inputs: Inputs, k: int, **options: int) -> Explanation:
    told = Counterfactual(k, **options).explain(model, inputs, logit)
    for row in range(len(inputs)):
        assert bool(told.removal.inside[row]) is among_first(model, inputs, row, (), k)
        smallest, mine = all_smallest(model, inputs, row, k), members(told, row)
        assert mine in smallest if smallest else not mine
    assert told.removal.proven.all()
    assert not told.error.any()
    return told


@given(
    seed=st.integers(0, 9999),
    events=st.integers(0, 6),
    rivals=st.integers(0, 6),
    k=st.integers(1, 4),
    bend=st.booleans(),
)
@settings(QUICK, max_examples=60)
def test_the_set_is_as_small_as_any_that_enumeration_finds(seed, events, rivals, k, bend) -> None:
    agree(*random_shelf(3, events, rivals, seed, bend), k)


def test_both_directions_sizes_and_rows_without_a_set_occur() -> None:
    """The cases that the property above is of, so that it is not one of nothing."""
    told = [agree(*random_shelf(16, 6, 6, seed, seed % 2 == 1), 2) for seed in range(4)]
    kinds = [
        (bool(each.removal.inside[row]), int(each.removal.size[row]))
        for each in told
        for row in range(16)
    ]
    assert {(True, 0), (True, 1), (True, 2), (True, 3), (False, 0), (False, 1), (False, 2)} <= {
        *kinds
    }


@pytest.mark.parametrize(("k", "sizes"), [(1, {3}), (5, {1, 2})])
def test_a_transformer_by_enumeration(k: int, sizes: set[int]) -> None:
    model, inputs = small_model(history=5, users=6)
    values = inputs.values.double()
    values[inputs.features.group == BEHAVIOUR] *= 20  # so that what is removed is missed
    told = agree(model.double(), inputs.with_values(values), k)
    assert {*told.removal.size.tolist()} == {0, *sizes}


def test_a_cross_encoder_by_enumeration(tmp_path: Path) -> None:
    data = small_data(history=3, items=8)
    tables = data.tables.replace(
        items=data.tables.items.with_columns(text=data.tables.items["title"]),
        users=data.tables.users.select("user", "age"),
    )
    data = Data(tables, data.options, data.train)
    encoder = Pretrained(str(saved("bert", tmp_path, bytes_of("<s>"))), tune="full")
    torch.manual_seed(0)
    options = CrossEncoder(tokens=64, item_tokens=9, retriever={"width": 8})
    model = options.build(data, torch.randn(len(data.items), 8), encoder).double().eval()
    with torch.no_grad():
        batch = data.queries("test", torch.arange(1, 7))
        inputs = model.embed(batch)
    items = torch.arange(1, len(data.items)).expand(6, -1)
    others = inputs.against(torch.where(items == batch.candidate[:, None], 0, items))
    told = [agree(model, others, k).summed() for k in (2, 4)]
    assert {size for each in told for size in each.removal.size.tolist()} > {0}


def test_what_the_greedy_search_misses_is_found_by_trying_all() -> None:
    # Alone, 0 and 1 do most; together they undo each other. 2 and 3 do it, and little alone.
    class Twisted(Shelf):
        def state(self, inputs: Inputs) -> Tensor:
            gone = ~inputs.present[:, :4]
            a, b, c, d = gone.double().unbind(1)
            lost = 0.5 * a + 0.5 * b - 2 * a * b + 0.1 * c + 0.1 * d + 2 * c * d - 3 * a * c * d
            return (1 - lost)[:, None].expand(-1, 2)

    model = Twisted(torch.tensor([[0.0, 0], [1, 0], [0, 0]]).double())
    inputs = shelf_inputs(
        model, torch.zeros(1, 4, 2).double(), torch.tensor([1]), torch.tensor([[2]])
    )
    told = Counterfactual(1, evaluations=0).explain(model, inputs, logit)
    assert not told.removal.found
    assert not told.removal.proven
    assert told.error.isnan()
    assert members(agree(model, inputs, 1), 0) == {2, 3}


def test_a_set_that_is_not_proven_says_so() -> None:
    # All alike, so that any five of nine do it; 36 + 84 + 126 sets are smaller and not alone.
    model = Shelf(torch.tensor([[0.0, 0], [1, 0], [0, 1]]).double())
    events = torch.tensor([[1.0, 0]]).double().expand(1, 9, 2).clone()
    inputs = shelf_inputs(model, events, torch.tensor([1]), torch.tensor([[2]]))
    inputs.values[:, 9] = torch.tensor([0, 4.5])
    for evaluations, proven in ((0, False), (245, False), (246, True), (10_000, True)):
        told = Counterfactual(1, evaluations).explain(model, inputs, logit)
        assert told.removal.size.tolist() == [5]
        assert told.removal.proven.tolist() == [proven]
        assert told.error.isnan().tolist() == [not proven]
        assert told.removal.evaluations.tolist() == [9 + 8 + 4 + min(evaluations, 246)]


def test_what_is_not_needed_is_put_back() -> None:
    # Alone 0 and 1 do 2 each and 2 does 1.9; 3 are needed, and 0 and 1 are one and the same.
    class Doubled(Shelf):
        def state(self, inputs: Inputs) -> Tensor:
            a, b, c = (~inputs.present[:, :3]).double().unbind(1)
            return (3 - 2 * torch.maximum(a, b) - 1.9 * c)[:, None].expand(-1, 2)

    model = Doubled(torch.tensor([[0.0, 0], [1, 0], [0, 0]]).double())
    inputs = shelf_inputs(
        model, torch.zeros(1, 3, 2).double(), torch.tensor([1]), torch.tensor([[2]])
    )
    told = Counterfactual(1, evaluations=0).explain(model, inputs, logit)
    assert members(told, 0) == {0, 2}
    assert told.removal.proven.all()  # of pairs it is known without a search
    assert told.removal.evaluations.tolist() == [3 + 2 + 1]


def test_the_members_share_what_the_score_loses() -> None:
    model, inputs = random_shelf(32, 6, 6, seed=3, bend=True)
    told = agree(model, inputs, 2)
    for row in range(len(inputs)):
        mine = members(told, row)
        present = inputs.present[row : row + 1].clone()
        present[0, list(mine)] = False
        one = inputs.rows(slice(row, row + 1))
        with torch.no_grad():
            lost = float(model.score(one) - model.score(one.with_present(present)))
        assert float(told.score[row] - told.base[row]) == pytest.approx(lost, abs=1e-9)
        expected = [lost / len(mine) if slot in mine else 0 for slot in range(8)]
        assert told.values[row].tolist() == pytest.approx(expected, abs=1e-9)
    assert {len(members(told, row)) for row in range(32)} >= {0, 1, 2}


def parted(inputs: Inputs) -> Inputs:
    """The same events, each in two halves that follow it, its own slot being absent."""
    rows, slots = inputs.present.shape
    length = slots - 2
    events, rest = inputs.values[:, :length], inputs.values[:, length:]
    halves = (events / 2).repeat_interleave(2, dim=1)
    values = torch.cat([torch.zeros_like(events), halves, rest], dim=1)
    there = inputs.present[:, :length]
    present = torch.cat(
        [torch.zeros_like(there), there.repeat_interleave(2, dim=1), inputs.present[:, length:]], 1
    )
    group = torch.tensor([*[BEHAVIOUR] * 3 * length, FIXED, ITEM]).expand(rows, -1)
    whole = torch.arange(length).repeat_interleave(2)
    none = torch.full((length,), -1)
    parent = torch.cat([none, whole, torch.full((2,), -1)]).expand(rows, -1)
    key = torch.arange(group.shape[1]).expand(rows, -1)
    names = {each: [f"slot {at}" for at in range(len(key[0]))] for each in (BEHAVIOUR, FIXED, ITEM)}
    return Inputs(values, present, FeatureIndex(group, key, parent, names), inputs.rivals)


@pytest.mark.parametrize("seed", range(3))
def test_an_event_goes_with_all_its_parts(seed: int) -> None:
    model, inputs = random_shelf(8, 5, 6, seed)
    told, whole = agree(model, parted(inputs), 2), agree(model, inputs, 2)
    summed = told.summed()
    assert torch.equal(summed.removal.members[:, :5], whole.removal.members[:, :5])
    torch.testing.assert_close(summed.values[:, :5], whole.values[:, :5])
    assert torch.equal(told.removal.size, 2 * whole.removal.size)
    assert whole.removal.found.any()


def test_with_fewer_rivals_than_places_nothing_is_tried() -> None:
    model, inputs = random_shelf(4, 5, 3, seed=0)
    told = Counterfactual(4).explain(model, inputs, logit)
    assert told.removal.inside.all()
    assert told.removal.proven.all()
    assert not told.removal.found.any()
    assert not told.removal.evaluations.any()
    assert not told.values.any()
    assert torch.equal(told.base, told.score)
    none = inputs.against(torch.zeros(4, 20, dtype=torch.long))
    assert Counterfactual(1).explain(model, none, logit).removal.inside.all()


def test_a_tie_with_the_last_place_counts_as_among_the_first() -> None:
    model = Shelf(torch.tensor([[0.0, 0], [1, 0], [1, 0], [1, 1]]).double())
    events = torch.tensor([[[1.0, 0]]]).double()
    inputs = shelf_inputs(model, events, torch.tensor([1]), torch.tensor([[2]]))
    assert agree(model, inputs, 1).removal.inside.tolist() == [True]
    above = inputs.against(torch.tensor([[2, 3]]))
    assert agree(model, above, 1).removal.inside.tolist() == [False]
    assert agree(model, above, 2).removal.inside.tolist() == [True]


def test_many_rows_are_searched_as_each_alone() -> None:
    model, inputs = random_shelf(12, 6, 6, seed=5, bend=True)
    for evaluations in (0, 7, 1000):
        explainer = Counterfactual(2, evaluations)
        together = explainer.explain(model, inputs, logit)
        for row in range(12):
            alone = explainer.explain(model, inputs.rows(slice(row, row + 1)), logit)
            for name in ("members", "inside", "proven", "evaluations"):
                found = getattr(alone.removal, name)[0]
                assert torch.equal(found, getattr(together.removal, name)[row])


def test_more_sets_than_a_block_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = random_shelf(6, 6, 6, seed=8, bend=True)
    expected = Counterfactual(2).explain(model, inputs, logit)
    monkeypatch.setattr("xrec_plugins.explainers.counterfactual.BLOCK", 3)
    found = Counterfactual(2).explain(model, inputs, logit)
    assert torch.equal(found.removal.members, expected.removal.members)
    assert torch.equal(found.removal.proven, expected.removal.proven)
    assert (found.removal.evaluations <= expected.removal.evaluations).all()
    for evaluations in range(8):
        told = Counterfactual(2, evaluations).explain(model, inputs, logit)
        sure = told.removal.proven
        assert torch.equal(told.removal.size[sure], expected.removal.size[sure])


def test_keeps_the_contract_of_an_explainer() -> None:
    model, inputs = small_model(users=4)
    check_explainer(Counterfactual(2), model, inputs)


def test_without_rivals_there_are_no_places() -> None:
    model, inputs = small_model()
    with pytest.raises(XrecError, match=r"name no rivals: give them some by Inputs\.against"):
        Counterfactual().explain(model, replace(inputs, rivals=None), logit)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="k is 0, it must be at least 1"):
        Counterfactual(0)
    with pytest.raises(ValueError, match="evaluations is -1, it must be at least 0"):
        Counterfactual(1, -1)
