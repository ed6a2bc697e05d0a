"""The toys that the gates explain: their contributions by enumeration."""

from __future__ import annotations

import pytest
import torch
from explain.toys import exact_shapley

from xrec.testing import small_data
from xrec.testing.toys import BentToy, LinearToy
from xrec_plugins.explainers.leave_one_out import LeaveOneOut


@pytest.mark.parametrize("deaf", [(), (1,), (2, 3)])
def test_the_linear_toy_is_known_in_closed_form(deaf: tuple[int, ...]) -> None:
    data = small_data(history=4)
    model = LinearToy(data, deaf)
    with torch.no_grad():
        inputs = model.embed(data.queries("test", torch.arange(1, 4)))
        said = torch.where(inputs.players, model.said(inputs), 0)
        assert torch.allclose(said.double(), exact_shapley(model, inputs), atol=1e-6)
    assert (inputs.players.sum(1) < 7).any()
    assert (~inputs.present).any()


def test_the_bent_toy_interacts_and_is_not_flat() -> None:
    data = small_data(history=4)
    model = BentToy(data)
    with torch.no_grad():
        inputs = model.embed(data.queries("test", torch.arange(1, 4)))
    exact = exact_shapley(model, inputs)
    alone = LeaveOneOut().explain(model, inputs, lambda m, i: m.score(i)).values
    assert (exact - alone).abs().amax(1).min() > 0.05
    assert exact.abs().amax(1).min() > 0.1


def test_a_toy_s_candidate_can_be_exchanged() -> None:
    data = small_data(history=4)
    model, batch = LinearToy(data), data.queries("test", torch.arange(1, 4))
    with torch.no_grad():
        inputs, items = model.embed(batch), torch.tensor([3, 4, 5])
        found = model.exchanged(inputs, items)
        assert torch.equal(model.score(found), model(batch.about(items)))
        assert found.features.name(0, -1) == data.titles[3]
        both = model.choices(inputs, torch.stack([batch.candidate, items], dim=1))
    assert torch.allclose(both[:, 0], model.score(inputs))
    assert torch.allclose(both[:, 1], model.score(found))
