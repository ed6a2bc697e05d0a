"""The baselines: popularity and item-kNN by hand, EASE by constrained least squares."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.models import baselines as module
from xrec.models.baselines import baselines, ease, item_knn, popularity
from xrec.models.quality import ranking_metrics, ranks
from xrec.testing import small_data

# Three users and three items: a and b were had together once, b and c once.
COUNTS = torch.tensor([[0.0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 1, 0]])


def _random_counts(users: int, items: int, seed: int) -> Tensor:
    counts = (
        torch.rand(users, items + 1, generator=torch.Generator().manual_seed(seed)) < 0.4
    ).float()
    counts[:, 0] = 0
    return counts


def test_popularity_counts_users():
    scores = popularity(COUNTS)(torch.zeros(2, 4))
    assert scores.tolist() == [[0, 1, 3, 1]] * 2


def test_item_knn_sums_cosines():
    ab = bc = 1 / math.sqrt(1 * 3)
    scores = item_knn(COUNTS, 3)(torch.tensor([[0.0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]]))
    expected = [[0, 0, ab, 0], [0, 0, ab + bc, 0], [0, ab, 0, bc]]
    assert torch.allclose(scores, torch.tensor(expected))


def test_item_knn_keeps_the_nearest_of_each_item():
    """d is nearer to b than a is: with one neighbour, b hears of d alone, but a still of b."""
    counts = torch.tensor([[0.0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 1, 1]])  # a b, b d, b d
    ab, bd = 1 / math.sqrt(3), 2 / math.sqrt(6)
    nearest, all_of_them = item_knn(counts, 1), item_knn(counts, 2)
    had_a, had_b = torch.tensor([[0.0, 1, 0, 0]]), torch.tensor([[0.0, 0, 1, 0]])
    assert torch.allclose(nearest(had_a), torch.tensor([[0.0, 0, 0, 0]]))
    assert torch.allclose(nearest(had_b), torch.tensor([[0.0, ab, 0, bd]]))
    assert torch.allclose(all_of_them(had_a), torch.tensor([[0.0, 0, ab, 0]]))


def test_item_knn_is_the_dense_cosine_when_all_are_neighbours():
    counts = _random_counts(30, 12, seed=3)
    norm = counts.norm(dim=0).clamp(min=1)
    cosine = (counts.T @ counts / norm / norm[:, None]).fill_diagonal_(0)
    seen = _random_counts(5, 12, seed=4)
    assert torch.allclose(item_knn(counts, 200)(seen), seen @ cosine, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.sampled_from([0.5, 5.0, 200.0]))
def test_ease_is_least_squares_without_an_item_itself(seed: int, items: int, ridge: float):
    """Each column of its weights regresses an item on all the others, with the ridge."""
    counts = _random_counts(25, items, seed)
    weight = ease(counts, ridge)(torch.eye(items + 1)).double().numpy()
    x = counts.double().numpy()
    for item in range(items + 1):
        others = [other for other in range(items + 1) if other != item]
        design = np.vstack([x[:, others], math.sqrt(ridge) * np.eye(items)])
        goal = np.concatenate([x[:, item], np.zeros(items)])
        solved = np.linalg.lstsq(design, goal, rcond=None)[0]
        assert weight[others, item] == pytest.approx(solved, abs=1e-5)
        assert weight[item, item] == 0


@pytest.mark.parametrize("exclude", [True, False])
def test_the_setting_with_the_best_validation_ndcg_is_kept(
    exclude: bool, monkeypatch: pytest.MonkeyPatch
):
    """Fitted on training events alone, with the validation item never among them."""
    monkeypatch.setattr(module, "NEIGHBOURS", (1, 2, 5))
    monkeypatch.setattr(module, "RIDGES", (0.1, 10.0, 1000.0))
    data = small_data(users=40)
    object.__setattr__(data.options, "exclude_seen", exclude)
    counts = torch.zeros(40, 16)
    for user in range(1, 41):
        begin, end = data.events.span(user)
        counts[user - 1, data.events.item[begin : end - 2]] = 1
    truth = data.queries("validate").candidate

    def ndcg(scores: Tensor) -> float:
        rank = ranks(scores, truth, counts.bool() if exclude else None)
        return float(ranking_metrics(rank)["ndcg@10"].mean())

    found = baselines(data)
    assert torch.equal(found["popularity"](counts), counts.sum(0).expand(40, -1))
    tried = {
        "item_knn": [item_knn(counts, k)(counts) for k in (1, 2, 5)],
        "ease": [ease(counts, ridge)(counts) for ridge in (0.1, 10.0, 1000.0)],
    }
    for name, scores in tried.items():
        best = max(scores, key=ndcg)
        assert len({ndcg(each) for each in scores}) > 1, "a choice that makes no difference"
        assert torch.equal(found[name](counts), best)
