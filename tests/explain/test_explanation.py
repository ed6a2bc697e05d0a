"""The views of an explanation, by hand, and its way to a file and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor

from xrec.data.features import BEHAVIOUR, FIXED, ITEM, PROFILE, FeatureIndex
from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.models.inputs import Inputs
from xrec.runs import explanations
from xrec.runs.store import Store

NAMES = {
    FIXED: ("query",),
    BEHAVIOUR: ("", "Alien", "Brazil", "Cube"),
    PROFILE: ("", "age: old", "town: Delft"),
    ITEM: ("text", "identity"),
}


def some_inputs() -> Inputs:
    """Two rows of six slots: three events, a profile value, the query and the candidate's text."""
    group = torch.tensor([BEHAVIOUR] * 3 + [PROFILE, FIXED, ITEM]).expand(2, -1)
    key = torch.tensor([[0, 1, 2, 1, 0, 0], [1, 2, 3, 0, 0, 0]])
    present = torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1]]).bool()
    features = FeatureIndex(group, key, torch.full_like(key, -1), NAMES)
    return Inputs(torch.randn(2, 6, 4), present, features)


VALUES = [[9.0, 2.0, -3.0, 0.5, 9.0, -1.0], [0.25, -0.25, 0.5, 9.0, 9.0, 0.0]]  # 9: no player's


def told(**changes: object) -> Explanation:
    score, base = torch.tensor([1.0, 2.0]), torch.tensor([2.5, 1.0])
    cost = Cost(forward=8, backward=4, seconds=0.5, peak_bytes=16)
    made = Explanation.of(some_inputs(), torch.tensor(VALUES), score, base, cost, "by_hand")
    return replace(made, **changes)


def test_only_players_are_attributed() -> None:
    assert told().values.tolist() == [[0, 2, -3, 0.5, 0, -1], [0.25, -0.25, 0.5, 0, 0, 0]]
    assert told().present.int().tolist() == [[0, 1, 1, 1, 0, 1], [1, 1, 1, 0, 0, 1]]
    assert len(told()) == 2


def test_the_error_is_the_completeness_gap_unless_one_is_given() -> None:
    assert told().error.tolist() == [0, 0.5]  # |-1.5 - (1 - 2.5)|, |0.5 - (2 - 1)|
    inputs, zero = some_inputs(), torch.zeros(2)
    given = Explanation.of(
        inputs, torch.tensor(VALUES), zero, zero, Cost(), "x", error=torch.tensor([3.0, 4.0])
    )
    assert given.error.tolist() == [3, 4]


def test_nothing_of_the_graph_is_kept() -> None:
    weight = torch.ones(2, requires_grad=True)
    values = torch.tensor(VALUES) * weight[0]
    made = Explanation.of(some_inputs(), values, weight * 2, weight * 1, Cost(), "x")
    kept = (made.values, made.score, made.base, made.error)
    assert not any(tensor.requires_grad for tensor in kept)


def test_by_group_sums() -> None:
    groups = told().by_group()
    assert list(groups) == ["behaviour", "profile", "item"]  # no fixed, nor groups without a slot
    assert groups["behaviour"].tolist() == [-1, 0.5]
    assert groups["profile"].tolist() == [0.5, 0]
    assert groups["item"].tolist() == [-1, 0]
    assert torch.allclose(sum(groups.values(), torch.zeros(2)), told().values.sum(1))


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, [[2], [2]]),
        (3, [[2, 1, 5], [2, 0, 1]]),  # 0.25 and -0.25 tie: the lower slot first
        (4, [[2, 1, 5, 3], [2, 0, 1, 5]]),  # slot 5 of row 1 is there, though worth 0
        (5, [[2, 1, 5, 3, -1], [2, 0, 1, 5, -1]]),
        (8, [[2, 1, 5, 3, -1, -1, -1, -1], [2, 0, 1, 5, -1, -1, -1, -1]]),
    ],
)
def test_top(k: int, expected: list[list[int]]) -> None:
    found = told().top(k)
    assert found.dtype == torch.int64
    assert found.tolist() == expected


def test_ties_go_to_the_lower_slot_among_many() -> None:
    values = torch.zeros(2, 6)
    assert replace(told(), values=values).top(4).tolist() == [[1, 2, 3, 5], [0, 1, 2, 5]]


def test_normalised() -> None:
    found = told().normalised()
    assert torch.allclose(found.values.abs().sum(1), torch.ones(2))
    assert torch.allclose(found.values * torch.tensor([[6.5], [1.0]]), told().values)
    for name, expected in {
        "score": [1 / 6.5, 2],
        "base": [2.5 / 6.5, 1],
        "error": [0, 0.5],
    }.items():
        assert getattr(found, name).tolist() == pytest.approx(expected)


def test_normalised_leaves_zeros() -> None:
    found = told(values=torch.zeros(2, 6)).normalised()
    assert found.values.tolist() == torch.zeros(2, 6).tolist()
    assert found.score.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("index", "rows"), [(slice(1, 2), [1]), (torch.tensor([1, 0, 1]), [1, 0, 1])]
)
def test_rows(index: Tensor | slice, rows: list[int]) -> None:
    whole, some = told(), told().rows(index)
    assert len(some) == len(rows)
    for name in ("values", "present", "score", "base", "error"):
        assert getattr(some, name).tolist() == [getattr(whole, name)[row].tolist() for row in rows]
    assert [some.features.name(at, 2) for at in range(len(rows))] == [
        whole.features.name(row, 2) for row in rows
    ]
    assert some.cost == whole.cost


def test_to_arrow_has_a_row_a_contribution() -> None:
    table = told().to_arrow()
    assert table["standard_error"].null_count == table.num_rows == 8
    assert table.drop_columns("standard_error").to_pylist()[:4] == [
        {"row": 0, "slot": 1, "group": "behaviour", "feature": "Alien", "value": 2.0},
        {"row": 0, "slot": 2, "group": "behaviour", "feature": "Brazil", "value": -3.0},
        {"row": 0, "slot": 3, "group": "profile", "feature": "age: old", "value": 0.5},
        {"row": 0, "slot": 5, "group": "item", "feature": "text", "value": -1.0},
    ]


def test_standard_errors_are_those_of_what_was_attributed(tmp_path: Path) -> None:
    inputs = some_inputs()
    deviation = torch.rand(inputs.present.shape) + 1
    one = Explanation.of(
        inputs, told().values, told().score, told().base, Cost(), "x", deviation=deviation
    )
    assert one.deviation is not None
    assert torch.equal(one.deviation > 0, inputs.players)
    assert one.summed().deviation is None
    size = one.values[0].abs().sum()
    assert torch.allclose(one.normalised().deviation[0], one.deviation[0] / size)
    assert torch.equal(one.rows(slice(1, 2)).deviation, one.deviation[1:])
    people = pl.DataFrame({"user": ["u1", "u2"], "item": ["i3", "i4"], "title": ["Dune", "Evil"]})
    explanations.write(Store(tmp_path), "x", one, people)
    back = explanations.read(Store(tmp_path), "x", inputs)
    assert torch.allclose(back.deviation, one.deviation)


def test_to_a_file_and_back(tmp_path: Path) -> None:
    store, one = Store(tmp_path), told()
    people = pl.DataFrame({"user": ["u1", "u2"], "item": ["i3", "i4"], "title": ["Dune", "Evil"]})
    explanations.write(store, "by_hand", one, people)
    table = store.table("explanations/by_hand.parquet")
    assert table.filter(pl.col("row") == 1)["title"].unique().to_list() == ["Evil"]
    back = explanations.read(store, "by_hand", some_inputs())
    for name in ("values", "present", "score", "base", "error"):
        assert torch.equal(getattr(back, name), getattr(one, name)), name
    assert back.cost == one.cost
    assert (back.explainer, back.target) == ("by_hand", "logit")
    assert back.features.name(0, 3) == "age: old"
