"""Ranks and ranking metrics, against torchmetrics; the classification report, against sklearn."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.retrieval import (
    retrieval_normalized_dcg,
    retrieval_recall,
    retrieval_reciprocal_rank,
)

from xrec.data.batches import Batch
from xrec.models.quality import Ranked, classification_report, coverage, ranking_metrics, ranks
from xrec.testing import small_data

ORACLES = {
    "ndcg@10": lambda scores, target: retrieval_normalized_dcg(scores, target, top_k=10),
    "recall@10": lambda scores, target: retrieval_recall(scores, target, top_k=10),
    "mrr": retrieval_reciprocal_rank,
}


@st.composite
def rankings(draw: st.DrawFn, distinct: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, N + 1), targets (B,), and what is excluded (B, N + 1), targets among it or not."""
    rows, items = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    if distinct:
        scores = torch.rand(rows, items + 1, generator=generator).argsort(1).float() - items / 2
    else:
        scores = torch.randint(-2, 3, (rows, items + 1), generator=generator).float()
    target = torch.randint(1, items + 1, (rows,), generator=generator)
    share = draw(st.sampled_from([0.0, 0.3, 0.9]))
    return scores, target, torch.rand(scores.shape, generator=generator) < share


def _shown(exclude: Tensor, target: int) -> list[int]:
    """The items that are ranked: none that is excluded, but for the target; never padding."""
    return [item for item in range(1, len(exclude)) if item == target or not exclude[item]]


@settings(max_examples=150, deadline=None)
@given(rankings(distinct=True))
def test_metrics_are_those_of_torchmetrics(ranking: tuple[Tensor, Tensor, Tensor]):
    scores, target, exclude = ranking
    found = ranking_metrics(ranks(scores, target, exclude))
    assert set(found) == set(ORACLES)
    for row in range(len(scores)):
        shown = _shown(exclude[row], int(target[row]))
        relevant = torch.tensor(shown) == target[row]
        for name, oracle in ORACLES.items():
            # to torchmetrics an item that scores 0 or less is not retrieved at all
            expected = oracle(scores[row, shown].exp(), relevant)
            assert float(found[name][row]) == pytest.approx(float(expected), abs=1e-6), name


@settings(max_examples=150, deadline=None)
@given(rankings(distinct=False))
def test_ties_count_against_the_target(ranking: tuple[Tensor, Tensor, Tensor]):
    """As when the list is sorted by score and the target comes last among its equals."""
    scores, target, exclude = ranking
    found = ranks(scores, target, exclude)
    for row, wanted in enumerate(target.tolist()):
        shown = _shown(exclude[row], wanted)
        shown.sort(key=lambda item: (-float(scores[row, item]), item == wanted))
        assert found[row] == shown.index(wanted) + 1


@settings(max_examples=50, deadline=None)
@given(rankings(distinct=True))
def test_excluding_nothing_is_the_same_as_no_exclusion(ranking: tuple[Tensor, Tensor, Tensor]):
    scores, target, exclude = ranking
    assert ranks(scores, target).equal(ranks(scores, target, torch.zeros_like(exclude)))


def test_a_model_that_scores_everything_alike_comes_last():
    assert ranks(torch.zeros(2, 8), torch.tensor([1, 7])).tolist() == [7, 7]


def test_padding_is_no_rival():
    scores = torch.tensor([[99.0, 1.0, 0.0]])
    assert ranks(scores, torch.tensor([1])).tolist() == [1]


@pytest.mark.parametrize(("score", "rank"), [(math.nan, 5), (-math.inf, 5), (math.inf, 1)])
def test_a_target_without_a_number_comes_last(score: float, rank: int):
    scores = torch.tensor([[0.0, 1.0, score, 3.0, -4.0, 2.0]])
    assert ranks(scores, torch.tensor([2])).tolist() == [rank]


def test_rivals_without_a_number_come_before_the_target():
    scores = torch.tensor([[0.0, 9.0, math.nan, math.nan, 1.0]])
    assert ranks(scores, torch.tensor([1])).tolist() == [3]
    exclude = torch.tensor([[False, False, True, False, False]])
    assert ranks(scores, torch.tensor([1]), exclude).tolist() == [2]


def test_metrics_at_the_cut_off():
    found = ranking_metrics(torch.tensor([1, 2, 10, 11]))
    ndcg = [1, 1 / math.log2(3), 1 / math.log2(11), 0]
    assert found["ndcg@10"].tolist() == pytest.approx(ndcg)
    assert found["recall@10"].tolist() == [1, 1, 1, 0]
    assert found["mrr"].tolist() == pytest.approx([1, 1 / 2, 1 / 10, 1 / 11])
    two = ranking_metrics(torch.tensor([2, 3]), cutoff=2)
    assert two["recall@2"].tolist() == [1, 0]
    assert set(two) == {"ndcg@2", "recall@2", "mrr"}


# What a model shows


def _queries(users: int) -> Batch:
    return small_data(items=15).queries("test", torch.arange(1, users + 1))


def test_the_top_is_the_best_that_was_not_seen():
    batch = _queries(3)
    scores = torch.rand(3, 16, generator=torch.Generator().manual_seed(1))
    seen = torch.zeros(3, 16, dtype=torch.bool)
    seen[0, 1:4] = True
    ranked = Ranked.of(scores, batch, seen)
    for row in range(3):
        shown = [item for item in range(1, 16) if not seen[row, item]]
        best = sorted(shown, key=lambda item: -float(scores[row, item]))[:10]
        assert ranked.top[row].tolist() == best
    assert ranked.rank.equal(ranks(scores, batch.candidate, seen))
    assert ranked.user.equal(batch.user)


def test_a_small_catalogue_has_a_shorter_top():
    batch = _queries(1).about(torch.tensor([2]))
    ranked = Ranked.of(torch.tensor([[9.0, 1.0, 3.0, 2.0]]), batch, None)
    assert ranked.top.tolist() == [[2, 3, 1]]
    assert ranked.rank.tolist() == [1]


def test_where_little_is_left_the_top_ends_in_nothing():
    """Neither what was seen nor what has no score is shown."""
    batch = _queries(1).about(torch.tensor([2]))
    seen = torch.tensor([[False, True, False, False, False]])
    ranked = Ranked.of(torch.tensor([[9.0, 8.0, 1.0, 2.0, -math.inf]]), batch, seen)
    assert ranked.top.tolist() == [[3, 2, 0, 0]]
    assert coverage(ranked.top, 4) == 0.5


def test_joined_parts_are_the_whole():
    batch = _queries(5)
    scores = torch.rand(5, 16, generator=torch.Generator().manual_seed(2))
    whole = Ranked.of(scores, batch, None)
    parts = [Ranked.of(scores[some], batch.rows(some), None) for some in (slice(0, 2), slice(2, 5))]
    joined = Ranked.joined(parts)
    assert joined.user.equal(whole.user)
    assert joined.rank.equal(whole.rank)
    assert joined.top.equal(whole.top)


def test_coverage_counts_items_once():
    assert coverage(torch.tensor([[1, 2], [2, 3]]), 6) == 0.5


# Classification


@st.composite
def answers(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Logits (M,) and labels (M,) with both classes; some logits tie, some are huge, some 0."""
    each = st.floats(-80, 80, width=32) | st.sampled_from([0.0, 1.0, -1.0, 30.0, 31.0, -30.0])
    rows = draw(st.lists(st.tuples(each, st.integers(0, 1)), min_size=2, max_size=30))
    logits, label = zip(*rows, strict=True)
    assume(0 < sum(label) < len(label))
    return torch.tensor(logits), torch.tensor(label)


@settings(max_examples=100, deadline=None)
@given(answers())
def test_the_report_is_that_of_sklearn(answer: tuple[Tensor, Tensor]):
    metrics = pytest.importorskip("sklearn.metrics")
    logits, label = answer
    found = classification_report(logits, label)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(label, logits), abs=1e-6)
    expected = metrics.classification_report(
        label, logits > 0, labels=[0, 1], output_dict=True, zero_division=0
    )
    assert found["accuracy"] == pytest.approx(float(((logits > 0) == label).float().mean()))
    for name, theirs in (("negative", expected["0"]), ("positive", expected["1"])):
        for key in ("precision", "recall"):
            assert found[name][key] == pytest.approx(theirs[key], abs=1e-6), (name, key)
        assert found[name]["f1"] == pytest.approx(theirs["f1-score"], abs=1e-6)
        assert found[name]["support"] == theirs["support"]


def test_auc_tells_large_logits_apart():
    """Their probabilities are all 1 in single precision."""
    found = classification_report(torch.tensor([20.0, 40.0]), torch.tensor([0, 1]))
    assert found["auc"] == 1
