"""What was taken away follows the rows of its explanation, and parts follow their wholes."""

from __future__ import annotations

import torch

from xrec.data.features import BEHAVIOUR, FeatureIndex
from xrec.explain.explanation import Explanation
from xrec.explain.removal import Removal
from xrec.explain.target import logit
from xrec.testing import small_model
from xrec_plugins.explainers.counterfactual import Counterfactual

NAMES = ("members", "inside", "proven", "evaluations")


def told() -> Explanation:
    model, inputs = small_model(history=3, users=4)
    return Counterfactual(6).explain(model, inputs, logit)


def same(one: Removal | None, other: Removal | None) -> None:
    assert one is not None
    assert other is not None
    assert one.k == other.k
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in NAMES)


def test_rows_and_what_joins_them() -> None:
    whole = told()
    assert whole.removal is not None
    assert whole.removal.found.tolist() == [False, True, True, False]
    parts = [whole.rows(slice(0, 1)), whole.rows(slice(1, 4))]
    assert [part.removal.size.tolist() for part in parts] == [[0], [1, 1, 0]]
    same(Explanation.joined(parts).removal, whole.removal)
    order = torch.tensor([2, 0, 2])
    turned = whole.rows(order).removal
    assert torch.equal(turned.members, whole.removal.members[order])
    assert torch.equal(turned.evaluations, whole.removal.evaluations[order])


def test_parts_are_counted_as_what_they_are_part_of() -> None:
    parent = torch.tensor([[-1, -1, 0, 0, 1]])
    group = torch.full_like(parent, BEHAVIOUR)
    features = FeatureIndex(group, torch.zeros_like(parent), parent, {BEHAVIOUR: ("a",)})
    members = torch.tensor([[False, False, True, True, False]])
    one = torch.ones(1, dtype=torch.bool)
    summed = Removal(3, members, one, one, torch.tensor([7])).summed(features)
    assert summed.members.tolist() == [[True, False, False, False, False]]
    assert summed.size.tolist() == [1]


def test_the_error_is_known_where_the_answer_is_proven() -> None:
    members = torch.tensor([[True], [True], [False]])
    proven = torch.tensor([True, False, False])
    found = Removal(1, members, proven, proven, torch.tensor([1, 1, 1]))
    assert found.found.tolist() == [True, True, False]
    assert found.error[0] == 0
    assert found.error[1:].isnan().all()
