"""LiRA beside normal likelihoods by hand, and beside what is known of what leaks nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from xrec.audit.outcome import areas
from xrec.audit.ratios import MANY, discriminant, ratios
from xrec.audit.shadows import halves


def world(shadows: int, users: int, shift: float, seed: int = 0, *more: int):
    """Answers that differ by user, and by `shift` where a user is known."""
    generator = torch.Generator().manual_seed(seed)
    inside = halves(users, shadows, seed)
    shape = (shadows, users, *more)
    said = torch.randn(shape, generator=generator).double()
    said += 3 * torch.randn(shape[1:], generator=generator).double()
    return said + shift * inside.view(shadows, users, *[1] * len(more)), inside


def auc(said: Tensor, inside: Tensor) -> float:
    return float(areas(said.numpy(), inside.numpy()).mean())


def by_hand(said: Tensor, inside: Tensor, target: int, user: int, own: bool) -> tuple[float, float]:
    """Online and offline, of one target and user, by SciPy."""
    values, known = said.numpy(), inside.numpy()
    others = [at for at in range(len(values)) if at // 2 != target // 2]

    def side(who: int, true: bool) -> np.ndarray:
        return np.array([values[at, who] for at in others if known[at, who] == true])

    normal = {}
    for true in (True, False):
        each = [side(who, true).var(ddof=1) for who in range(values.shape[1])]
        variance = each[user] if own else np.mean(each)
        normal[true] = norm(side(user, true).mean(), np.sqrt(variance))
    said_of = values[target, user]
    online = normal[True].logpdf(said_of) - normal[False].logpdf(said_of)
    return online, norm.ppf(normal[False].cdf(said_of))


@pytest.mark.parametrize("shadows", [6, 2 * MANY + 2])
def test_ratios_are_those_of_normal_densities(shadows: int) -> None:
    said, inside = world(shadows, 4, 0.5)
    online, offline = ratios(said, inside)
    for target in (0, 1, shadows - 1):
        for user in range(4):
            expected = by_hand(said, inside, target, user, own=shadows > 2 * MANY)
            found = (float(online[target, user]), float(offline[target, user]))
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_what_the_other_half_says_does_not_count() -> None:
    said, inside = world(8, 20, 1.0)
    changed = said.clone()
    changed[1] += 5  # of the pair of the first
    for attack in (lambda each: ratios(each, inside)[0], lambda each: ratios(each, inside)[1]):
        assert torch.equal(attack(said)[0], attack(changed)[0])
        assert not torch.equal(attack(said)[2], attack(changed)[2])
    some, same = (discriminant(each[..., None], inside) for each in (said, changed))
    assert torch.equal(some[0], same[0])


def test_where_nothing_leaks_it_is_chance() -> None:
    """With few shadows too, of which a target left out alone would tell its members."""
    found = []
    for seed in range(12):
        said, inside = world(6, 200, 0.0, seed)
        features, _ = world(6, 200, 0.0, seed, 5)
        every = (*ratios(said, inside), discriminant(features, inside))
        found.append([auc(each, inside) for each in every])
    mean = torch.tensor(found).mean(0)
    assert mean.tolist() == pytest.approx([0.5] * 3, abs=0.02)  # an error of some 0.005 each


def test_models_that_all_say_the_same_tell_nothing() -> None:
    inside = halves(30, 8, 0)
    said = torch.rand(30, generator=torch.Generator().manual_seed(0)).double().expand(8, 30)
    for told in (*ratios(said, inside), discriminant(said[..., None], inside)):
        assert auc(told, inside) == 0.5


def test_what_differs_by_user_hides_a_leak_from_a_threshold_alone() -> None:
    said, inside = world(16, 300, 2.0)
    online, offline = ratios(said, inside)
    assert auc(said, inside) < 0.75
    assert auc(online, inside) > 0.88
    assert auc(offline, inside) > 0.88


def test_few_shadows_tell_more_where_all_users_are_taken_to_be_alike() -> None:
    said, inside = world(8, 300, 1.0)
    online, offline = ratios(said, inside)
    pooled = discriminant(said[..., None], inside)
    assert auc(pooled, inside) > max(auc(online, inside), auc(offline, inside))


def test_the_discriminant_is_scikit_learns() -> None:
    said, inside = world(8, 60, 0.8, 1, 3)
    others = torch.arange(2, 8)
    centre = said[others].mean(0)
    rows, known = (said[others] - centre).flatten(0, 1), inside[others].flatten()
    fisher = LinearDiscriminantAnalysis(solver="lsqr").fit(rows.numpy(), known.numpy())
    expected = (said[0] - centre).numpy() @ fisher.coef_[0]
    found = discriminant(said, inside)[0].numpy()
    assert np.corrcoef(found, expected)[0, 1] == pytest.approx(1)
    assert found == pytest.approx(expected, rel=0.02)  # their covariance divides by classes' sizes


def test_features_that_say_nothing_change_nothing() -> None:
    said, inside = world(8, 60, 0.8, 1, 3)
    more = torch.cat([said, torch.ones(8, 60, 1).double(), said[..., :1]], dim=2)
    torch.testing.assert_close(discriminant(more, inside), discriminant(said, inside))


def test_their_scale_does_not_matter() -> None:
    said, inside = world(8, 60, 0.8, 1, 3)
    scale = torch.tensor([1e-4, 1.0, 1e5]).double()
    torch.testing.assert_close(discriminant(said * scale, inside), discriminant(said, inside))
