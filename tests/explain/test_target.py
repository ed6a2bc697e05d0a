"""Targets: the logit, the margin over the runner-up, one task of several, and their names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from explain.toys import listed, ones

from xrec.data.features import ITEM
from xrec.data.tasks import CLICK, KNOWN
from xrec.errors import XrecError
from xrec.explain.target import lead, logit, margin, rank, target_named, task
from xrec.testing import small_model


def test_the_margin_is_that_of_two_scores():
    model, inputs = small_model()
    data = model.data_module
    batch = data.queries("test", torch.arange(1, 5))
    rivals = torch.tensor([[3, 1], [4, 1], [5, 1], [6, 1]])
    found = margin(model, inputs.against(rivals))
    expected = model(batch) - model(batch.about(rivals[:, 0]))
    assert torch.allclose(found, expected, atol=1e-5)


def test_what_is_absent_of_the_user_is_absent_for_both():
    model, inputs = small_model()
    against = inputs.against(torch.tensor([[3], [4], [5], [6]]))
    item = inputs.features.group == ITEM
    fewer = against.with_present(inputs.present & (item | inputs.features.fixed))
    batch = model.data_module.queries("test", torch.arange(1, 5))
    nobody = model.embed(batch.about(against.rivals[:, 0]))
    nobody = nobody.with_present(nobody.present & (item | inputs.features.fixed))
    assert torch.allclose(margin(model, fewer), model.score(fewer) - model.score(nobody), atol=1e-5)


def test_gradients_reach_the_users_vectors_through_both():
    model, inputs = small_model()
    values = inputs.values.detach().clone().requires_grad_()
    against = inputs.with_values(values).against(torch.tensor([[3], [4], [5], [6]]))
    (found,) = torch.autograd.grad(margin(model, against).sum(), values)
    again = inputs.values.detach().clone().requires_grad_()
    alone = inputs.with_values(again)
    whole = model.score(alone) - model.score(model.exchanged(alone, against.rivals[:, 0]))
    (expected,) = torch.autograd.grad(whole.sum(), again)
    assert torch.allclose(found, expected, atol=1e-6)


def test_without_rivals_there_is_no_margin():
    model, inputs = small_model()
    for given in (
        replace(inputs, rivals=None),
        inputs.against(torch.zeros(4, 0, dtype=torch.long)),
    ):
        with pytest.raises(XrecError, match="name no runner-up"):
            margin(model, given)


def test_a_model_that_cannot_exchange_its_item_says_so():
    given = listed([[1.0, 2.0]]).against(torch.tensor([[1]]))
    with pytest.raises(XrecError, match="Additive cannot exchange"):
        margin(ones(2), given)


def test_targets_by_name():
    tasks = (CLICK, KNOWN["rating"])
    assert target_named("logit", tasks) is logit
    assert target_named("margin", tasks) is margin
    model, inputs = small_model()
    assert torch.equal(target_named("click", tasks)(model, inputs), task(0)(model, inputs))


def test_rows_and_devices_keep_the_rivals():
    inputs = listed([[1.0], [2.0], [3.0]]).against(torch.tensor([[1, 2], [3, 4], [5, 6]]))
    assert inputs.rows(torch.tensor([2, 0, 2])).rivals.tolist() == [[5, 6], [1, 2], [5, 6]]
    assert inputs.to("cpu").rivals.tolist() == inputs.rivals.tolist()
    assert inputs.with_values(inputs.values + 1).rivals is inputs.rivals


def test_joined_inputs_are_as_wide_as_the_widest():
    model = ones(3)
    narrow, wide = listed([[1.0, 2.0]]), listed([[4.0, 5.0, 6.0]])
    both = type(narrow).joined([narrow, wide])
    assert both.present.tolist() == [[True, True, False], [True, True, True]]
    assert both.players.tolist() == both.present.tolist()
    assert model.score(both).tolist() == [3, 15]


def test_the_lead_is_over_the_rival_at_the_last_place_whichever_it_is():
    model, inputs = small_model(users=3)
    rivals = torch.tensor([[3, 1, 7, 9], [0, 4, 1, 6], [5, 0, 0, 8]])
    against = inputs.against(rivals)
    with torch.no_grad():
        mine = model.score(inputs)
        for first in range(1, 6):
            found = lead(first)(model, against)
            for row in range(3):
                one = inputs.rows(torch.tensor([row]))
                theirs = sorted(
                    (
                        float(model.score(model.exchanged(one, torch.tensor([item]))))
                        for item in rivals[row].tolist()
                        if item
                    ),
                    reverse=True,
                )
                over = theirs[first - 1] if first <= len(theirs) else -torch.inf
                assert float(found[row]) == pytest.approx(float(mine[row]) - over, abs=1e-6)


def test_without_rivals_there_is_no_lead():
    model, inputs = small_model()
    with pytest.raises(XrecError, match="name no rivals"):
        lead(3)(model, replace(inputs, rivals=None))


def test_the_rank_is_the_place_among_all_rivals() -> None:
    model, inputs = small_model(users=3)
    assert inputs.rivals is not None
    found = rank(model, inputs)
    with torch.no_grad():
        scores, real = model.compared(inputs, inputs.rivals), inputs.rivals > 0
    ahead = [(row[1:][there] >= row[0]).sum() for row, there in zip(scores, real, strict=True)]
    assert found.tolist() == [1 + int(count) for count in ahead]


def test_a_tie_counts_against_the_item() -> None:
    model, inputs = small_model(users=2)
    same = inputs.against(torch.full((2, 3), 4))
    same.rivals[0, 2] = 0
    with torch.no_grad():
        model.compared = lambda inputs, items: torch.zeros(len(inputs), 1 + items.shape[1])
        assert rank(model, same).tolist() == [3, 4]


def test_a_rank_needs_rivals() -> None:
    model, inputs = small_model(users=2)
    with pytest.raises(XrecError, match="name no rivals"):
        rank(model, replace(inputs, rivals=None))
