"""Baselines of feature vectors, slot by slot by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from explain.toys import toy_inputs

from xrec.data.features import BEHAVIOUR, FIXED, PROFILE
from xrec.errors import XrecError
from xrec.explain import gradients
from xrec.explain.baseline import Background, FromBaseline
from xrec.explain.explainer import Explainer
from xrec.explain.gradients import Gradients
from xrec.explain.memory import peak_bytes
from xrec.explain.probe import probe
from xrec.explain.target import logit
from xrec.testing import small_model
from xrec_plugins.explainers.adaptive_integrated_gradients import AdaptiveIntegratedGradients
from xrec_plugins.explainers.integrated_gradients import IntegratedGradients


@dataclass
class Plain(FromBaseline):
    """No more than a baseline."""


def background() -> Background:
    """Two users: [event, event, fixed, profile], the second without its first event."""
    group = torch.tensor([[BEHAVIOUR, BEHAVIOUR, FIXED, PROFILE]]).repeat(2, 1)
    present = torch.tensor([[True, True, True, True], [False, True, True, False]])
    values = torch.tensor([[1.0, 2.0, 9.0, 4.0], [100.0, 6.0, 9.0, 100.0]])[..., None]
    return Background(values, present, group)


def test_means_are_those_of_what_is_present_in_the_group() -> None:
    means = background().means()
    assert means[BEHAVIOUR].item() == pytest.approx((1 + 2 + 6) / 3)
    assert means[PROFILE].item() == 4
    assert means.isfinite().all()


def test_a_slot_is_stood_in_for_by_the_one_as_far_from_the_end_of_its_group() -> None:
    inputs = toy_inputs(torch.zeros(2, 5, 1), fixed=(3,))
    group = inputs.features.group.clone()
    group[:, 4] = PROFILE  # three events, a fixed slot, a profile value
    inputs = replace(inputs, features=replace(inputs.features, group=group))
    found = background().standing_in(inputs, torch.tensor([0, 1]))[..., 0].tolist()
    assert found[0] == [3, 1, 2, 9, 4]  # the oldest event has no counterpart: the mean
    assert found[1] == [3, 3, 6, 9, 4]  # nor the one before; nor the profile value


@pytest.mark.parametrize("baseline", ["zero", "padding", "mean", "users"])
def test_baselines_agree_with_the_inputs_but_in_players(baseline: str) -> None:
    model, inputs = small_model(users=5)
    plain = Plain(baseline=baseline, samples=3, background=9)
    plain.fit(model, model.data_module)
    starts = plain.starts(model, inputs)
    assert len(starts) == (3 if baseline == "users" else 1)
    for start in starts:
        assert torch.equal(start[~inputs.players], inputs.values[~inputs.players])
        assert not start.requires_grad
    if baseline in ("zero", "padding"):
        assert not starts[0][inputs.players].any()
    else:
        assert not torch.equal(starts[0][inputs.players], inputs.values[inputs.players])


def test_users_are_drawn_for_each_row_by_itself() -> None:
    model, inputs = small_model(users=5)
    plain = Plain(baseline="users", samples=3, background=9)
    plain.fit(model, model.data_module)
    together = torch.stack(plain.starts(model, inputs))
    for row in range(5):
        alone = torch.stack(plain.starts(model, inputs.rows(slice(row, row + 1))))
        assert torch.equal(alone[:, 0], together[:, row])
    other = Plain(baseline="users", samples=3, background=9, seed=1)
    other.restore(plain.state(), model, model.data_module)
    assert not torch.equal(torch.stack(other.starts(model, inputs)), together)
    # Each row has users of its own, none of them twice.
    slots = torch.stack([plain.fitted().standing_in(inputs, torch.full((5,), u)) for u in range(9)])
    drawn = []
    for row in range(5):
        there = inputs.players[row]
        same = (together[:, None, row, there] == slots[None, :, row, there]).flatten(2).all(-1)
        drawn.append(tuple(sorted(same.int().argmax(1).tolist())))
        assert len(set(drawn[-1])) == 3
    assert len(set(drawn)) > 1


def test_a_background_is_of_validation_queries_and_leaves_the_mode() -> None:
    model, _ = small_model()
    model.train()
    data = model.data_module
    sample = Background.of(model, data, 4, seed=2)
    assert model.training
    assert not sample.values.requires_grad
    everyone = model.eval().embed(data.queries("validate"))
    assert all(any(torch.equal(mine, one) for one in everyone.values) for mine in sample.values)
    assert len(Background.of(model, data, 1000, seed=2)) == len(data.users) - 1


def test_what_was_fitted_can_be_kept_and_restored() -> None:
    model, inputs = small_model()
    fitted = Plain(baseline="users", samples=2, background=5)
    figures = fitted.fit(model, model.data_module)
    assert figures["users"] == 5
    assert figures["seconds"] > 0
    again = Plain(baseline="users", samples=2, background=5)
    again.restore(fitted.state(), model, model.data_module)
    for mine, theirs in zip(again.starts(model, inputs), fitted.starts(model, inputs), strict=True):
        assert torch.equal(mine, theirs)
    assert Plain().fit(model, model.data_module) == Plain().state() == {}


def test_what_was_not_fitted_is_refused() -> None:
    model, inputs = small_model()
    with pytest.raises(XrecError, match="Plain takes vectors from a background of users: call fit"):
        Plain(baseline="mean").starts(model, inputs)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"baseline": "none"}, "baseline is 'none', not one of zero, padding, mean, users"),
        ({"samples": 0}, "samples is 0, it must be from 1 to background, 64"),
        ({"samples": 9, "background": 8}, "samples is 9, it must be from 1 to background, 8"),
        ({"background": 0}, "background is 0, it must be at least 1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Plain(**options)  # type: ignore[arg-type]


def test_no_more_rows_at_once_than_memory_is_meant_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = small_model(users=5)
    monkeypatch.setattr(gradients, "VECTORS", 2 * (inputs.values[0].nbytes + 1))
    with probe(model):
        of = Gradients(model, inputs, logit)
        sizes: list[int] = []

        def attribute(rows: torch.Tensor) -> torch.Tensor:
            sizes.append(len(rows))
            return rows

        assert of.by_chunks(attribute).tolist() == [0, 1, 2, 3, 4]
        assert of.by_chunks(attribute, copies=2).tolist() == [0, 1, 2, 3, 4]
        assert sizes == [2, 2, 1] + 5 * [1]
        with torch.no_grad():
            assert torch.allclose(of.score(), model.score(inputs), atol=1e-6)


@pytest.mark.parametrize(
    "explainer",
    [IntegratedGradients(8), AdaptiveIntegratedGradients()],
    ids=lambda explainer: type(explainer).__name__,
)
def test_what_is_held_does_not_grow_with_the_batch(
    monkeypatch: pytest.MonkeyPatch, explainer: Explainer
) -> None:
    model, inputs = small_model(users=8)
    monkeypatch.setattr(gradients, "VECTORS", 32 * inputs.values[0].nbytes)
    few, many = (inputs.rows(torch.arange(rows) % 8) for rows in (16, 128))
    held = [peak_bytes(lambda of=of: explainer.explain(model, of, logit)) for of in (few, many)]
    own = many.values.nbytes - few.values.nbytes  # what the inputs themselves are
    assert held[1] - held[0] < 3 * own
    assert held[1] > 32 * inputs.values[0].nbytes
