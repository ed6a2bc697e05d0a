"""The check that the author of an influence plugin runs."""

from __future__ import annotations

import torch

from xrec.data.batches import Batch
from xrec.influence.influence import Influence
from xrec.models.recommender import Recommender


def check_influence(method: Influence, model: Recommender, queries: Batch) -> None:
    """An influence method keeps its contract.

    One finite value for each interaction that it looked at, all of the users' own among them, and
    no interaction twice; its evaluations are counted; the model keeps its modes, its parameters and
    their gradients, and the random generator its state; asked twice, it says the same. Raises
    AssertionError that says what is broken.
    """
    assert method.top >= 1, "top, the interactions that are told, is below 1"
    data = model.data_module
    modes = [module.training for module in model.modules()]
    learning = [parameter.requires_grad for parameter in model.parameters()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state()
    told = method.trace(model, [], data, queries)
    assert torch.equal(torch.get_rng_state(), drawn), "the random generator was used"
    assert [m.training for m in model.modules()] == modes, "the model's mode was changed"
    found = [parameter.requires_grad for parameter in model.parameters()]
    assert found == learning, "parameters were left frozen, or thawed"
    assert all(p.grad is None for p in model.parameters()), "parameters were left with gradients"
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value), f"the parameter {name} was changed"
    some = told.interactions
    assert told.values.shape == (len(queries), len(some)), (
        "there is not one value for each query and interaction"
    )
    assert bool(told.values.isfinite().all()), "a value is not finite"
    events = list(some)
    assert len(set(events)) == len(events), "an interaction was looked at twice"
    assert len(some) <= some.total, "more interactions were looked at than there are"
    whole = data.windows()
    assert whole.learned is not None
    for user in queries.user.unique():
        own = int(whole.learned[whole.user == user].sum())
        assert int((some.user == user).sum()) == own, "a user's own interactions were left out"
    assert told.cost.forward > 0, "no forward evaluation was counted"
    assert told.cost.backward > 0, "no gradient was counted"
    again = method.trace(model, [], data, queries)
    assert again.values.equal(told.values), "asked twice, it says two things"
