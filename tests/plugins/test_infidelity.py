"""Infidelity: against captum, by hand, and as a law of large numbers."""

from __future__ import annotations

import pytest
import torch
from captum.metrics import infidelity as captums
from explain.toys import contributions, listed, ones, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import case, owned
from torch import Tensor

from xrec.fidelity.metric import Case
from xrec_plugins.metrics.infidelity import Infidelity

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=40)
TOYS = [(seed, of, share) for seed in (0, 1) for of in ("all", "user") for share in (0.4, 1.0)]


def drawn(seed: int, of: str, share: float) -> tuple[Infidelity, Case]:
    """A metric, and a case of values that explain nothing."""
    model, inputs = random_toy(rows=4, slots=7, seed=seed)
    values = torch.randn(4, 7, generator=torch.Generator().manual_seed(seed)).double()
    told = case(model, owned(inputs, [3]), values, seed=seed)
    return Infidelity(draws=16, share=share, of=of), told


def by_captum(metric: Infidelity, told: Case, values: Tensor, normalize: bool = False) -> Tensor:
    """(B,) captum's infidelity of values, for the same removals."""
    inputs = told.inputs
    players = told.of_user if metric.of == "user" else inputs.players
    removed = metric.removals(players, told.seed).flatten(0, 1).double()

    def score(mask: Tensor) -> Tensor:
        row = torch.arange(len(inputs)).repeat_interleave(len(mask) // len(inputs))
        some = inputs.rows(row)
        return told.model.score(some.with_present(some.present & (mask > 0)))

    def perturbed(mask: Tensor) -> tuple[Tensor, Tensor]:
        return removed, mask - removed

    whole = torch.ones(inputs.present.shape, dtype=torch.double)
    draws = {"n_perturb_samples": metric.draws, "normalize": normalize}
    found: Tensor = captums(score, perturbed, whole, values, **draws)
    return found


@pytest.mark.parametrize(("seed", "of", "share"), TOYS)
def test_it_is_captums(seed: int, of: str, share: float) -> None:
    metric, told = drawn(seed, of, share)
    expected = by_captum(metric, told, told.explanation.values)
    assert torch.allclose(metric.measure(told)["infidelity"], expected)


@pytest.mark.parametrize(("seed", "of", "share"), TOYS)
def test_scaled_it_is_captums_over_the_mean_square_unless_the_scale_is_negative(
    seed: int, of: str, share: float
) -> None:
    metric, told = drawn(seed, of, share)
    values = told.explanation.values
    whole = by_captum(metric, told, torch.zeros_like(values))
    expected = by_captum(metric, told, values, normalize=True) / whole
    found = metric.measure(told)["infidelity_scaled"]
    turned = metric.measure(case(told.model, told.inputs, -values, seed=seed))["infidelity_scaled"]
    assert (torch.isclose(found, expected) | (found == 1)).all()
    assert torch.allclose(torch.minimum(found, turned), expected)  # captum takes the better sign
    assert (torch.maximum(found, turned) == 1).all()


def test_by_hand() -> None:
    # The one feature of each row says 3, 0 and 2, and is said to give 1, 1 and -2.
    inputs = listed([[3], [0], [2]])
    told = case(ones(1), inputs, torch.tensor([[1.0], [1.0], [-2.0]]))
    found = Infidelity(draws=3).measure(told)
    assert found["infidelity"].tolist() == [4, 1, 16]
    assert found["infidelity_scaled"][[0, 2]].tolist() == [0, 1]
    assert found["infidelity_scaled"][1].isnan()  # nothing that is removed does anything


def test_an_explanation_of_nothing_forecasts_nothing() -> None:
    inputs = listed([[3, 1, -2]])
    found = Infidelity(draws=6).measure(case(ones(3), inputs, torch.zeros(1, 3)))
    assert found["infidelity"] > 0
    assert found["infidelity_scaled"].tolist() == [1]


def test_rows_without_a_feature_to_remove_are_not_judged() -> None:
    inputs = owned(listed([[3, 1], [3, 1]]), [1])
    inputs = inputs.with_present(torch.tensor([[False, True], [True, True]]))
    told = case(ones(2), inputs, inputs.values[..., 0])
    for found in Infidelity(of="user").measure(told).values():
        assert found.isnan().tolist() == [True, False]
    for found in Infidelity().measure(told).values():
        assert not found.isnan().any()


@given(seed=st.integers(0, 999), slots=st.integers(2, 9), of=st.sampled_from(["all", "user"]))
@QUICK
def test_exact_contributions_of_an_additive_model_err_by_nothing(seed, slots, of) -> None:
    model, inputs = random_toy(rows=3, slots=slots, seed=seed, pairs=False)
    inputs = owned(inputs, [1])
    exact = contributions(model, inputs)
    found = Infidelity(draws=9, of=of).measure(case(model, inputs, exact, seed=seed))
    judged = ~found["infidelity"].isnan()
    assert (found["infidelity"][judged] < 1e-12).all()
    assert (found["infidelity_scaled"][judged] < 1e-9).all()


@given(seed=st.integers(0, 999), scale=st.floats(0.01, 100))
@QUICK
def test_the_scaled_one_has_no_unit_and_is_at_most_one(seed, scale) -> None:
    model, inputs = random_toy(rows=3, slots=6, seed=seed)
    values = torch.randn(3, 6, generator=torch.Generator().manual_seed(seed)).double()
    one, other = (
        Infidelity(draws=8).measure(case(model, inputs, each))["infidelity_scaled"]
        for each in (values, scale * values)
    )
    assert torch.allclose(one, other, equal_nan=True)
    known = one[~one.isnan()]
    assert ((known >= 0) & (known <= 1)).all()


def test_a_sign_turned_or_another_scale_is_seen() -> None:
    model, inputs = random_toy(rows=20, slots=7, seed=0)
    exact = contributions(model, inputs)
    right, turned, larger = (
        {name: float(v.nanmean()) for name, v in Infidelity().measure(told).items()}
        for told in (case(model, inputs, each) for each in (exact, -exact, 3 * exact))
    )
    assert right["infidelity"] < min(turned["infidelity"], larger["infidelity"])
    assert right["infidelity_scaled"] < turned["infidelity_scaled"]
    assert right["infidelity_scaled"] == pytest.approx(larger["infidelity_scaled"])


@pytest.mark.parametrize(("share", "most"), [(1.0, 6), (0.5, 3), (0.05, 1)])
def test_every_number_of_features_is_removed_as_often_and_every_feature_too(share, most) -> None:
    players = torch.ones(1, 8, dtype=torch.bool)
    players[:, [2, 5]] = False
    (removed,) = Infidelity(draws=6000, share=share).removals(players, seed=1)
    assert not (removed & ~players).any()
    counts = removed.sum(1).bincount(minlength=most + 1)
    assert counts.tolist() == [0, *[6000 // most] * most]
    often = removed.double().mean(0)[players[0]]
    assert torch.allclose(often, often.mean().expand(6), atol=0.04)  # 6 standard errors


def test_the_seed_alone_says_what_is_removed() -> None:
    players = torch.ones(2, 9, dtype=torch.bool)
    metric = Infidelity(draws=5)
    first = metric.removals(players, seed=0)
    assert torch.equal(first, metric.removals(players, seed=0))
    assert not torch.equal(first, metric.removals(players, seed=1))
    assert not torch.equal(first[0], first[1])  # nor are rows alike


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"draws": 0}, "draws is 0"),
        ({"share": 0.0}, "share is 0.0"),
        ({"share": 1.5}, "share is 1.5"),
        ({"of": "item"}, "of is 'item'"),
    ],
)
def test_options_must_make_sense(options: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Infidelity(**options)
