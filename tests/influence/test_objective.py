"""What is differentiated, of which parameters, and what is refused."""

from __future__ import annotations

import pytest
import torch

from xrec.errors import RunError, XrecError
from xrec.influence.checkpoint import Checkpoint
from xrec.influence.interactions import Interactions
from xrec.influence.objective import EACH, QUERIES, TOGETHER, Objective, learned
from xrec.models.recommender import Recommender
from xrec.testing import small_model


def made(parts: list[str] | None = None) -> tuple[Recommender, Objective]:
    model, _ = small_model()
    data = model.data_module
    queries = data.queries("test", torch.arange(1, 4))
    pool = Interactions.of(data, queries.user, 10, 0)
    return model, Objective(model, pool, queries, parts or [])


def asked(objective: Objective, kind: int, places: torch.Tensor) -> torch.Tensor:
    return objective(places, torch.full_like(places, kind))


def test_it_gives_losses_and_minus_the_logits() -> None:
    model, objective = made()
    rows = torch.arange(3)
    with torch.no_grad():
        logits = model(objective.queries)
        losses = [
            model.loss(objective.interactions.windows.rows(at))["click"] for at in rows.split(1)
        ]
    torch.testing.assert_close(-asked(objective, QUERIES, rows), logits)
    torch.testing.assert_close(asked(objective, EACH, rows), torch.stack(losses))
    together = asked(objective, TOGETHER, rows)
    torch.testing.assert_close(together.sum(), torch.stack(losses).sum())


def test_its_parameters_are_the_parts_named_and_their_gradients_are_the_models() -> None:
    model, objective = made(["query", "layers.0.qkv"])
    names = objective.names
    assert names == ("query", "layers.0.qkv.weight", "layers.0.qkv.bias")
    assert objective.size == sum(model.get_parameter(name).numel() for name in names)
    found = torch.autograd.grad(
        asked(objective, QUERIES, torch.tensor([1])).sum(), list(objective.parameters())
    )
    score = model(objective.queries.rows(torch.tensor([1]))).sum()
    expected = torch.autograd.grad(-score, [model.get_parameter(name) for name in names])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_parameter_without_a_bearing_has_a_gradient_of_0() -> None:
    _, objective = made(["profile"])
    objective.queries.profile.zero_()
    said = asked(objective, QUERIES, torch.tensor([0])).sum()
    (gradient,) = torch.autograd.grad(said, list(objective.parameters()))
    assert not gradient.any()


def test_a_part_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(XrecError, match="no parameter that learned goes by 'layer': did you mean"):
        made(["layer"])


def test_a_model_that_learned_nothing() -> None:
    model, _ = small_model()
    model.requires_grad_(False)
    with pytest.raises(XrecError, match="nothing of the model SequentialRecommender learned"):
        learned(model, [])


def test_frozen_parts_are_not_among_those_that_learned() -> None:
    model, _ = small_model()
    model.layers.requires_grad_(False)
    assert not any(name.startswith("layers") for name in learned(model, []))
    with pytest.raises(XrecError, match="no parameter that learned goes by 'layers'"):
        learned(model, ["layers"])


def test_weights_of_another_model() -> None:
    _, objective = made()
    with pytest.raises(XrecError, match="the weights are of another model"):
        objective.load({"query": torch.zeros(3)})


def test_a_checkpoint_is_read_as_it_was_written(tmp_path) -> None:
    weights = {"a": torch.randn(3, 2), "b": torch.arange(3)}
    kept = Checkpoint.write(tmp_path / "deep" / "x.safetensors", weights, 7, {"a": 0.1})
    again = Checkpoint(kept.path)
    assert (again.epoch, again.rates) == (7, {"a": 0.1})
    assert all(again.weights()[name].equal(value) for name, value in weights.items())
    kept.path.write_bytes(kept.path.read_bytes()[:20])
    for look in (lambda: again.epoch, again.weights):
        with pytest.raises(RunError, match=r"cannot be read .*: remove it"):
            look()
