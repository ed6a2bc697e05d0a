"""Feature ablation and occlusion: by hand, beside leave-one-out, and beside captum on the slots."""

from __future__ import annotations

import pytest
import torch
from captum.attr import FeatureAblation as CaptumFeatureAblation
from captum.attr import Occlusion as CaptumOcclusion
from explain.toys import Additive, contributions, masked_score, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.explain.target import logit
from xrec.testing import small_model
from xrec_plugins.explainers.feature_ablation import FeatureAblation
from xrec_plugins.explainers.leave_one_out import LeaveOneOut
from xrec_plugins.explainers.occlusion import Occlusion

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


@pytest.mark.parametrize("absent", ["remove", "baseline"])
def test_ablation_is_leave_one_out(absent: str) -> None:
    model, inputs = small_model(history=5, users=4)
    one = FeatureAblation(absent).explain(model, inputs, logit)
    two = LeaveOneOut(absent).explain(model, inputs, logit)
    assert torch.allclose(one.values, two.values, atol=1e-6)
    assert torch.allclose(one.error, two.error, atol=1e-5)
    assert one.cost.forward <= two.cost.forward + 2 * len(inputs)


def test_ablation_is_captum_s_on_the_vectors() -> None:
    model, inputs = small_model(history=3, users=3)
    told = FeatureAblation("baseline").explain(model, inputs, logit)
    fixed = inputs.features.fixed[..., None]
    slots = torch.arange(inputs.present.shape[1])[None, :, None].expand_as(inputs.values[:1])
    found = CaptumFeatureAblation(lambda v: model.score(inputs.with_values(v))).attribute(
        inputs.values, baselines=torch.where(fixed, inputs.values, 0), feature_mask=slots
    )
    expected = torch.where(inputs.players, found[..., 0], 0)
    assert torch.allclose(told.values, expected, atol=1e-5)


@given(slots=st.integers(2, 9), seed=st.integers(0, 999), window=st.integers(1, 5))
@QUICK
def test_occlusion_is_the_mean_loss_of_a_feature_s_windows(slots, seed, window) -> None:
    model, inputs = random_toy(2, slots, seed)
    told = Occlusion(window).explain(model, inputs, logit)
    for row in range(2):
        players = inputs.players[row].nonzero()[:, 0].tolist()
        wide = min(window, len(players))
        losses: dict[int, list[float]] = {slot: [] for slot in players}
        for start in range(len(players) - wide + 1 if players else 0):
            gone = players[start : start + wide]
            rest = set(players) - set(gone)
            loss = float(told.score[row]) - masked_score(model, inputs, row, rest)
            for slot in gone:
                losses[slot].append(loss)
        for slot, mine in losses.items():
            assert float(told.values[row, slot]) == pytest.approx(sum(mine) / len(mine), abs=1e-5)


def test_occlusion_is_captum_s_on_the_slots() -> None:
    model, inputs = random_toy(2, 6, 0, fixed=())
    model, inputs = model.float(), inputs.with_values(inputs.values.float())  # as captum's are
    inputs = inputs.with_present(torch.ones_like(inputs.present))
    told = Occlusion(2, "baseline").explain(model, inputs, logit)
    found = CaptumOcclusion(lambda v: model.score(inputs.with_values(v))).attribute(
        inputs.values, sliding_window_shapes=(2, 3), baselines=0.0
    )
    assert torch.allclose(told.values, found[..., 0], atol=1e-5)


def test_a_window_of_one_is_ablation() -> None:
    model, inputs = small_model(history=5, users=4)
    one = Occlusion(1).explain(model, inputs, logit).values
    two = FeatureAblation().explain(model, inputs, logit).values
    assert torch.allclose(one, two, atol=1e-6)


class Either(Additive):
    """It scores if any of its slots is there: each makes up for the others."""

    def score(self, inputs) -> Tensor:
        return inputs.players.any(1).to(inputs.values)


def test_a_window_finds_neighbours_that_make_up_for_one_another() -> None:
    toy, inputs = random_toy(1, 3, 0, fixed=())
    inputs = inputs.with_present(torch.ones_like(inputs.present))
    model = Either(toy.weight.data)
    assert not FeatureAblation().explain(model, inputs, logit).values.any()
    assert Occlusion(3).explain(model, inputs, logit).values.tolist() == [[1, 1, 1]]


def test_ablation_is_exact_where_features_add_up() -> None:
    model, inputs = random_toy(rows=3, slots=6, seed=1, pairs=False)
    told = FeatureAblation().explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs), atol=1e-9)
    assert told.error.max() < 1e-9


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="window is 0, it must be at least 1"):
        Occlusion(window=0)
    for kind in (Occlusion, FeatureAblation):
        with pytest.raises(ValueError, match="absent is 'resample'"):
            kind(absent="resample")
        with pytest.raises(ValueError, match="level is 'word', not part or whole"):
            kind(level="word")
