"""Shapley sampling, permutation SHAP, captum's KernelSHAP: against enumeration and their library.

The libraries are called directly on plain functions of masks whose values were found slot by slot.
"""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import shap
import torch
from explain.toys import Additive, contributions, exact_shapley, masked_score, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.explain.generators import seeded
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec_plugins.explainers.captum_kernel_shap import CaptumKernelShap
from xrec_plugins.explainers.permutation_shap import PermutationShap
from xrec_plugins.explainers.shapley_sampling import ShapleySampling

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


class Bent(Additive):
    """An additive model's score, bent so that any number of slots interact."""

    def score(self, inputs: Inputs) -> Tensor:
        return super().score(inputs).sin()


def bent(rows: int = 3, slots: int = 8, seed: int = 2) -> tuple[Recommender, Inputs]:
    toy, inputs = random_toy(rows, slots, seed)
    return Bent(toy.weight.data), inputs


def values_of(model: Recommender, inputs: Inputs, row: int):
    """A plain function of masks (N, n) of a row's players, in torch, and n."""
    players = inputs.players[row].nonzero()[:, 0].tolist()

    def value(masks: Tensor) -> Tensor:
        sets = [{players[at] for at in one.nonzero()[:, 0].tolist()} for one in masks > 0.5]
        return torch.tensor(
            [masked_score(model, inputs, row, inside) for inside in sets], dtype=torch.double
        )

    return value, len(players)


def masked(mask: np.ndarray, row: np.ndarray) -> np.ndarray:
    return (mask * row)[None]


@pytest.mark.parametrize("seed", [0, 7])
def test_shapley_sampling_is_captum_s(seed: int) -> None:
    model, inputs = bent()
    told = ShapleySampling(permutations=3, seed=seed).explain(model, inputs, logit)
    for row in range(3):
        value, n = values_of(model, inputs, row)
        with seeded(seed):
            found = captum.attr.ShapleyValueSampling(value).attribute(
                torch.ones(1, n), baselines=torch.zeros(1, n), n_samples=3
            )
        assert told.values[row, inputs.players[row]].tolist() == pytest.approx(
            found[0].tolist(), abs=1e-5
        )


@pytest.mark.parametrize("seed", [0, 7])
def test_captum_s_kernel_shap_is_captum_s(seed: int) -> None:
    model, inputs = bent()
    told = CaptumKernelShap(evaluations=30, seed=seed).explain(model, inputs, logit)
    for row in range(3):
        value, n = values_of(model, inputs, row)
        with seeded(seed):
            found = captum.attr.KernelShap(value).attribute(
                torch.ones(1, n), baselines=torch.zeros(1, n), n_samples=30
            )
        assert told.values[row, inputs.players[row]].tolist() == pytest.approx(
            found[0].tolist(), abs=1e-4
        )


def test_permutation_shap_is_shap_s() -> None:
    model, inputs = bent()
    told = PermutationShap(permutations=3, seed=5).explain(model, inputs, logit)
    for row in range(3):
        value, n = values_of(model, inputs, row)

        def plain(masks: np.ndarray, value=value) -> np.ndarray:
            return value(torch.from_numpy(masks)).numpy()

        with seeded(5):
            explainer = shap.PermutationExplainer(plain, masked, seed=5)
            found = explainer(np.ones((1, n)), max_evals=3 * (2 * n + 1), silent=True)
        mine = inputs.players[row]
        assert told.values[row, mine].tolist() == pytest.approx(found.values[0].tolist(), abs=1e-6)


@given(slots=st.integers(1, 8), seed=st.integers(0, 999))
@QUICK
def test_one_permutation_there_and_back_is_exact_for_pairs(slots: int, seed: int) -> None:
    model, inputs = random_toy(2, slots, seed)
    told = PermutationShap(permutations=1).explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "explainer",
    [ShapleySampling(1000), PermutationShap(400), CaptumKernelShap(5000)],
    ids=lambda each: type(each).__name__,
)
def test_close_to_enumeration_with_many_draws(explainer) -> None:
    model, inputs = bent(rows=1, slots=6)
    exact = exact_shapley(model, inputs)
    told = explainer.explain(model, inputs, logit)
    assert exact.abs().max() > 0.1
    assert (told.values - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("absent", ["remove", "baseline"])
def test_a_transformer_by_enumeration(absent: str) -> None:
    model, inputs = small_model(history=2, users=2)
    inputs = inputs.with_values(inputs.values * 2)
    exact = exact_shapley(model, inputs, absent).float()
    told = PermutationShap(60, absent).explain(model, inputs, logit)
    assert (told.values - exact).abs().max() < 0.1 * exact.abs().max()


@given(slots=st.integers(1, 8), seed=st.integers(0, 999))
@QUICK
def test_complete_and_silent_on_the_error(slots: int, seed: int) -> None:
    model, inputs = random_toy(2, slots, seed)
    for explainer in (ShapleySampling(2), PermutationShap(1), CaptumKernelShap(40)):
        told = explainer.explain(model, inputs, logit)
        scale = 1 + told.score.abs() + told.base.abs()
        assert ((told.values.sum(1) - (told.score - told.base)).abs() < 1e-3 * scale).all()
        drawn = inputs.players.sum(1) > 1  # captum's KernelSHAP is not asked about one
        assert bool(told.error[drawn].isnan().all())


def test_the_standard_error_covers_the_error_and_shrinks() -> None:
    model, inputs = bent(rows=4, slots=7, seed=3)
    exact = exact_shapley(model, inputs)
    few, many = (PermutationShap(count).explain(model, inputs, logit) for count in (8, 128))
    for told in (few, many):
        assert told.deviation is not None
        there = inputs.players
        within = (told.values - exact).abs() <= 2 * told.deviation + 1e-9
        assert float(within[there].double().mean()) >= 0.9
        assert bool((told.deviation[there] > 0).all())
        assert not told.deviation[~there].any()
    ratio = many.deviation.sum() / few.deviation.sum()
    assert 0.15 < float(ratio) < 0.4  # a fourth


@pytest.mark.parametrize("kind", [ShapleySampling, PermutationShap, CaptumKernelShap])
def test_sampling_follows_the_seed(kind) -> None:
    model, inputs = bent(rows=2, slots=9)
    one, again, other = (kind(seed=seed).explain(model, inputs, logit) for seed in (3, 3, 4))
    assert torch.equal(one.values, again.values)
    assert not torch.allclose(one.values, other.values)


@pytest.mark.parametrize("kind", [ShapleySampling, PermutationShap, CaptumKernelShap])
def test_one_feature_alone_gets_all(kind) -> None:
    model, inputs = random_toy(rows=2, slots=2, seed=0)
    inputs = inputs.with_present(torch.ones_like(inputs.present))
    told = kind().explain(model, inputs, logit)
    assert torch.allclose(told.values[:, 1], told.score - told.base, atol=1e-5)


def test_what_the_options_cost() -> None:
    model, inputs = bent(rows=1, slots=9)
    n = int(inputs.players.sum())
    most = {ShapleySampling(3): 3 * n, PermutationShap(3): 6 * n, CaptumKernelShap(50): 50}
    for explainer, expected in most.items():
        cost = explainer.explain(model, inputs, logit).cost
        assert 0 < cost.forward <= expected + 5
        assert cost.backward == 0


def test_options_out_of_range_are_refused() -> None:
    for kind in (ShapleySampling, PermutationShap):
        with pytest.raises(ValueError, match="permutations is 0, it must be at least 1"):
            kind(permutations=0)
    with pytest.raises(ValueError, match="evaluations is 2, it must be at least 3"):
        CaptumKernelShap(evaluations=2)
    for kind in (ShapleySampling, PermutationShap, CaptumKernelShap):
        with pytest.raises(ValueError, match="absent is 'resample'"):
            kind(absent="resample")
        with pytest.raises(ValueError, match="level is 'word', not part or whole"):
            kind(level="word")
