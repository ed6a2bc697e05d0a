"""LIME against weighted least squares by hand, and the sampling that was published."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from explain.toys import contributions, masked_score, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso

from xrec.explain.generators import seeded
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec_plugins.explainers.lime import Lime, Line, fewer

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=15)


def by_hand(
    model: Recommender, inputs: Inputs, row: int, count: int, width: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks (N, n) that are drawn, their values slot by slot, and their weights."""
    players = inputs.players[row].nonzero()[:, 0].tolist()
    with seeded(seed):
        drawn = islice(fewer(torch.ones(1, len(players))), count)
        masks = torch.cat(list(drawn)).double().numpy()
    sets = [{players[at] for at in mask.nonzero()[0]} for mask in masks]
    values = np.array([masked_score(model, inputs, row, inside) for inside in sets])
    cosine = np.sqrt(masks.mean(1))  # of a mask with k of n ones and the one with all: √(k/n)
    return masks, values, np.exp(-((1 - cosine) ** 2) / (2 * width**2))


def slopes(masks: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted least squares with an intercept."""
    root = np.sqrt(weights)
    design = np.column_stack([masks, np.ones(len(masks))]) * root[:, None]
    return np.linalg.lstsq(design, values * root, rcond=None)[0][:-1]


@pytest.mark.parametrize(("width", "seed"), [(0.25, 0), (1.0, 5)])
def test_weighted_least_squares_by_hand(width: float, seed: int) -> None:
    model, inputs = random_toy(rows=3, slots=7, seed=1)
    told = Lime(evaluations=60, width=width, seed=seed).explain(model, inputs, logit)
    for row in range(3):
        expected = slopes(*by_hand(model, inputs, row, 60, width, seed))
        mine = told.values[row, inputs.players[row]].tolist()
        assert mine == pytest.approx(expected.tolist(), abs=1e-3)


def test_of_a_transformer_too() -> None:
    model, inputs = small_model(history=3, users=2)
    told = Lime(evaluations=80).explain(model, inputs, logit)
    for row in range(2):
        expected = slopes(*by_hand(model, inputs, row, 80, 0.25, 0))
        mine = told.values[row, inputs.players[row]].tolist()
        assert mine == pytest.approx(expected.tolist(), abs=1e-3)


@given(slots=st.integers(1, 7), seed=st.integers(0, 999))
@QUICK
def test_exact_where_features_add_up(slots: int, seed: int) -> None:
    model, inputs = random_toy(2, slots, seed, pairs=False)
    told = Lime(evaluations=100).explain(model, inputs, logit)
    assert torch.allclose(told.values, contributions(model, inputs), atol=1e-3, rtol=0)
    assert told.error.max() < 1e-2


def test_a_narrow_kernel_looks_at_the_row_alone_and_a_wide_one_further() -> None:
    model, inputs = random_toy(rows=3, slots=7, seed=2)
    game = [masked_score(model, inputs, 0, set(range(7)) - {slot}) for slot in range(7)]
    lost = torch.tensor(masked_score(model, inputs, 0, range(7))) - torch.tensor(game)
    mine = inputs.players[0]
    near, wide = (
        Lime(2000, width=width).explain(model, inputs.rows(slice(0, 1)), logit).values[0, mine]
        for width in (0.05, 5.0)
    )
    assert (near - lost[mine]).abs().sum() < (wide - lost[mine]).abs().sum()


@pytest.mark.parametrize("most", [1, 2, 4])
def test_k_lasso_keeps_so_many_and_fits_them_anew(most: int) -> None:
    model, inputs = random_toy(rows=3, slots=9, seed=3)
    told = Lime(evaluations=120, most=most).explain(model, inputs, logit)
    for row in range(3):
        masks, values, weights = by_hand(model, inputs, row, 120, 0.25, 0)
        found = told.values[row, inputs.players[row]].numpy()
        kept = found.nonzero()[0]
        assert len(kept) == most
        fitted = slopes(masks[:, kept], values, weights)
        assert found[kept].tolist() == pytest.approx(fitted.tolist(), abs=1e-3)


def test_the_lasso_s_path_chooses() -> None:
    generator = np.random.default_rng(0)
    masks = (generator.random((200, 6)) < 0.5).astype(float)
    values = masks @ np.array([0.5, -3.0, 0.1, 2.0, 0.0, -0.7]) + generator.normal(size=200) / 10
    weights = generator.random(200) + 0.1
    for most in (1, 2, 3, 4):
        line = Line(most)
        line.fit([[torch.from_numpy(each) for each in (masks, values, weights)]])
        for alpha in np.geomspace(2, 1e-3, 60):  # coordinate descent, where ours is LARS
            lasso = Lasso(alpha=alpha).fit(masks, values, sample_weight=weights)
            if (lasso.coef_ != 0).sum() == most:
                break
        assert line.slopes.nonzero()[:, 0].tolist() == lasso.coef_.nonzero()[0].tolist()


def test_samples_are_drawn_as_published() -> None:
    with seeded(0):
        drawn = torch.cat(list(islice(fewer(torch.ones(1, 5)), 5001)))
    assert drawn[0].tolist() == [1] * 5
    gone = (drawn[1:] == 0).sum(1)
    for count in range(1, 6):  # how many go is drawn evenly …
        assert float((gone == count).double().mean()) == pytest.approx(0.2, abs=0.03)
    assert not (gone == 0).any()
    each = (drawn[1:][gone == 2] == 0).double().mean(0)  # … and then which
    assert each.tolist() == pytest.approx([0.4] * 5, abs=0.06)


def test_follows_its_seed() -> None:
    model, inputs = random_toy(rows=2, slots=8, seed=0)
    one, again, other = (Lime(40, seed=s).explain(model, inputs, logit).values for s in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)


def test_options_out_of_range_are_refused() -> None:
    for options, complaint in (
        ({"evaluations": 1}, "evaluations is 1, it must be at least 2"),
        ({"most": -1}, "most is -1, it must be at least 0"),
        ({"width": 0.0}, "width is 0.0, it must be above 0"),
        ({"width": float("nan")}, "width is nan, it must be above 0"),
        ({"absent": "resample"}, "absent is 'resample', not remove or baseline"),
        ({"level": "word"}, "level is 'word', not part or whole"),
    ):
        with pytest.raises(ValueError, match=complaint):
            Lime(**options)
