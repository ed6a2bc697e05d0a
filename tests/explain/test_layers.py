"""What is decoded from scores that are made by hand."""

from __future__ import annotations

import pytest
import torch

from xrec.explain.layers import Decoded


def decoded(scores: list[list[float]], real: list[bool] | None = None) -> Decoded:
    """Of one user, from the scores of each item at each depth."""
    said = [torch.tensor([each]) for each in scores]
    there = torch.tensor([real or [True] * len(scores[0])])
    return Decoded.of(said, there)


@pytest.mark.parametrize(
    ("best", "depth"),
    [
        ([0, 0, 0, 0], 0),
        ([1, 0, 0, 0], 1),
        ([0, 1, 0, 0], 2),  # it was there before, but did not stay
        ([0, 0, 1, 0], 3),
        ([2, 1, 2, 0], 3),
        ([1, 1, 1, 1], 0),  # of the last layer's first choice, whichever item that is
        ([0], 0),
    ],
)
def test_the_depth_is_where_the_last_first_choice_appears_and_stays(best, depth: int) -> None:
    scores = [[float(at == item) for at in range(3)] for item in best]
    found = decoded(scores)
    assert found.depth.tolist() == [depth]
    assert found.order[0, :, 0].tolist() == best


def test_ranks_are_of_the_first_item() -> None:
    found = decoded([[1.0, 2, 3], [2.5, 2, 3], [4, 2, 3]])
    assert found.rank.tolist() == [[3, 2, 1]]
    assert found.order.tolist() == [[[2, 1, 0], [2, 0, 1], [0, 2, 1]]]


def test_of_equals_the_one_that_stands_first_comes_first() -> None:
    assert decoded([[1.0, 1, 1]]).rank.tolist() == [[1]]
    assert decoded([[1.0, 2, 2]]).order.tolist() == [[[1, 2, 0]]]


def test_items_that_are_none_come_last_whatever_is_said_of_them() -> None:
    found = decoded([[1.0, 9, 2], [1, 9, 0]], [True, False, True])
    assert found.order.tolist() == [[[2, 0, 1], [0, 2, 1]]]
    assert found.rank.tolist() == [[2, 1]]
    assert found.depth.tolist() == [1]


def test_users_are_decoded_each_alone() -> None:
    said = [torch.tensor([[1.0, 2], [2, 1]]), torch.tensor([[2.0, 1], [2, 1]])]
    found = Decoded.of(said, torch.ones(2, 2, dtype=torch.bool))
    assert found.depth.tolist() == [1, 0]
    assert found.rank.tolist() == [[2, 1], [1, 1]]
