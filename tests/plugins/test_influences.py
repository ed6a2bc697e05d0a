"""The influence plugins: their contract, their options, and captum's own words for the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from xrec.errors import XrecError
from xrec.influence.checkpoint import Checkpoint
from xrec.influence.interactions import Interactions
from xrec.influence.objective import Objective
from xrec.models.recommender import Recommender
from xrec.plugins import factory
from xrec.testing import check_influence, small_model

FEW = {"interactions": 12}
ARNOLDI = {"iterations": 8, "dimensions": 4}
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("tracin", FEW),
    ("influence_functions", {**FEW, **ARNOLDI}),
]


def asked(name: str = "sequential", **options: Any) -> tuple[Recommender, Any]:
    model, _ = small_model(name=name, **options)
    return model, model.data_module.queries("test", torch.arange(1, 3))


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_keeps_the_contract(name: str, options: dict[str, Any]) -> None:
    model, queries = asked()
    model.train()
    model.layers[0].eval()  # a mixture of modes, which train() or eval() alone would not restore
    model.profile.requires_grad_(False)
    check_influence(factory("influence", name)(**options), model, queries)


def gradients(model: Recommender, pool: Interactions, queries: Any) -> tuple[Tensor, Tensor]:
    """(M, P) of the interactions' losses and (B, P) of the logits, by autograd alone."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def flat(number: Tensor) -> Tensor:
        found = torch.autograd.grad(number, parameters, allow_unused=True, retain_graph=True)
        pairs = zip(found, parameters, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])

    places = torch.arange(len(pool)).split(1)
    losses = [flat(model.loss(pool.windows.rows(at))["click"]) for at in places]
    logits = [flat(logit) for logit in model(queries)]
    return torch.stack(losses), torch.stack(logits)


def rates(model: Recommender, **changed: float) -> dict[str, float]:
    return {name: changed.get(name, 0.5) for name, _ in model.named_parameters()}


def test_tracin_is_the_sum_of_rates_times_products_of_gradients(tmp_path: Path) -> None:
    model, queries = asked()
    own = {name: value.clone() for name, value in model.state_dict().items()}
    kept, expected = [], torch.zeros(())
    for epoch in (1, 2):
        for value in model.parameters():
            value.data.add_(0.1 * torch.randn_like(value))
        pool = Interactions.of(model.data_module, queries.user, 12, 0)
        losses, logits = gradients(model, pool, queries)
        told = rates(model, query=0.01 * epoch)
        weights = torch.cat(
            [torch.full_like(p, told[name]).flatten() for name, p in model.named_parameters()]
        )
        expected = expected - (logits * weights) @ losses.T
        path = tmp_path / f"{epoch}.safetensors"
        kept.append(Checkpoint.write(path, model.state_dict(), epoch, told))
    model.load_state_dict(own)
    found = factory("influence", "tracin")(**FEW).trace(model, kept, model.data_module, queries)
    torch.testing.assert_close(found.values, expected.detach(), rtol=1e-3, atol=1e-7)
    assert not found.notes
    assert found.cost.forward == 2 * (len(found.interactions) + 2)


def test_without_checkpoints_the_last_weights_are_looked_at_and_that_is_said() -> None:
    model, queries = asked()
    found = factory("influence", "tracin")(**FEW).trace(model, [], model.data_module, queries)
    losses, logits = gradients(model, found.interactions, queries)
    expected = -model.options.lr * logits @ losses.T
    torch.testing.assert_close(found.values, expected.detach(), rtol=1e-3, atol=1e-8)
    assert "the last ones speak for all of it" in found.notes[0]


def test_gradients_are_taken_one_at_a_time_and_few_are_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the gradients of one query alone may be held, each has a pass of its own."""
    model, queries = asked()
    places: list[int] = []
    whole = Objective.forward

    def watched(self: Objective, place: Tensor, kind: Tensor) -> Tensor:
        places.append(len(place))
        return whole(self, place, kind)

    monkeypatch.setattr(Objective, "forward", watched)
    plenty, scarce = (factory("influence", "tracin")(**FEW, max_bytes=n) for n in (2**29, 1))
    expected = plenty.trace(model, [], model.data_module, queries)
    assert max(places) == 1
    assert len(places) == len(expected.interactions) + 2
    places.clear()
    found = scarce.trace(model, [], model.data_module, queries)
    assert max(places) == 1
    assert len(places) == 2 * len(expected.interactions) + 2
    torch.testing.assert_close(found.values, expected.values)


def test_scalars_among_the_parameters_are_weighed_as_any() -> None:
    """Captum sums the gradient of a scalar over the batch; the value of one is its own."""
    model, queries = asked()
    scalars = [name for name, each in model.named_parameters() if each.dim() == 0]
    assert scalars
    method = factory("influence", "influence_functions")(
        **FEW, parts=scalars, hessian="exact", damping=1.0
    )
    found = method.trace(model, [], model.data_module, queries)
    assert found.parameters == len(scalars)
    for name, each in model.named_parameters():
        each.requires_grad_(name in scalars)
    losses, logits = gradients(model, found.interactions, queries)
    # All values are one number, the logit's gradient of 1 over the curvature, times the loss's.
    ratio = found.values[0] / losses[:, 0]
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=1e-6)
    assert logits.eq(1).all()


def test_a_hessian_that_would_not_fit() -> None:
    model, queries = asked()
    method = factory("influence", "influence_functions")(hessian="exact", max_bytes=1000)
    with pytest.raises(XrecError, match="name fewer under parts, or allow more"):
        method.trace(model, [], model.data_module, queries)


def test_some_parts_alone() -> None:
    model, queries = asked()
    method = factory("influence", "tracin")(**FEW, parts=["views", "heads"])
    found = method.trace(model, [], model.data_module, queries)
    parts = (model.views, model.heads)
    assert found.parameters == sum(p.numel() for part in parts for p in part.parameters())


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_parts_that_the_score_is_not_made_of(name: str, options: dict[str, Any]) -> None:
    """What the score is made of is not among them: a profile that no user has."""
    model, queries = asked()
    queries.profile.zero_()
    method = factory("influence", name)(**options, parts=["profile"])
    with pytest.raises(XrecError, match=r"every value is 0|curves upwards in no direction"):
        method.trace(model, [], model.data_module, queries)


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_unknown_parts_and_models_that_learned_nothing(name: str, options: dict[str, Any]) -> None:
    model, queries = asked()
    wrong = factory("influence", name)(**options, parts=["layer"])
    with pytest.raises(XrecError, match="'layer': did you mean 'layers'"):
        wrong.trace(model, [], model.data_module, queries)
    model.requires_grad_(False)
    with pytest.raises(XrecError, match="learned, so no training interaction had a bearing"):
        factory("influence", name)(**options).trace(model, [], model.data_module, queries)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tracin", {"interactions": 0}, "interactions is 0, it must be at least 1"),
        ("tracin", {"top": 0}, "top is 0"),
        ("influence_functions", {"max_bytes": 0}, "max_bytes is 0"),
        ("influence_functions", {"hessian": "whole"}, "hessian is 'whole'"),
        ("influence_functions", {"damping": 0.0}, "damping is 0.0, it must be above 0"),
        ("influence_functions", {"dimensions": 0}, "dimensions is 0"),
        ("influence_functions", {"iterations": 20}, "iterations is 20, it must be at least 27"),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factory("influence", name)(**options)
