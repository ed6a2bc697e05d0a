"""Batches: rows, candidates, and training windows as labelled pairs."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from xrec.data.batches import Batch
from xrec.data.tasks import KNOWN

BOTH = (KNOWN["click"], KNOWN["rating"])


def _window() -> Batch:
    """Two training windows of three events, the first of them padded."""
    return Batch(
        user=torch.tensor([1, 2]),
        history=torch.tensor([[0, 5, 6], [7, 8, 9]]),
        history_time=torch.tensor([[0, 50, 60], [70, 80, 90]]),
        history_action=torch.tensor([[0, 1, 2], [2, 1, 2]]),
        profile=torch.tensor([[3, 0], [4, 1]]),
        candidate=torch.tensor([6, 9]),
        negatives=torch.tensor([[11, 12], [13, 14]]),
        learned=torch.tensor([[False, True, True], [False, False, True]]),
        truth=torch.tensor([[[0, 0], [1, 3.5], [1, 4]], [[1, 2], [1, 1], [1, 5]]]),
    )


def test_rows_are_taken_of_every_tensor_in_order():
    batch = _window()
    some = batch.rows(torch.tensor([1, 0, 1]))
    assert len(some) == 3
    for f in fields(Batch):
        given, found = getattr(batch, f.name), getattr(some, f.name)
        assert found is None if given is None else torch.equal(found, given[[1, 0, 1]]), f.name
    assert torch.equal(batch.rows(slice(1, 2)).history, batch.history[1:])


def test_to_moves_every_tensor_and_leaves_what_is_not_given():
    moved = _window().to("meta")
    assert moved.label is None
    for f in fields(Batch):
        assert f.name == "label" or getattr(moved, f.name).is_meta, f.name


def test_about_changes_the_candidate_alone():
    batch = _window()
    other = batch.about(torch.tensor([1, 2]))
    assert other.candidate.tolist() == [1, 2]
    assert batch.candidate.tolist() == [6, 9]
    assert all(
        getattr(other, f.name) is getattr(batch, f.name)
        for f in fields(Batch)
        if f.name != "candidate"
    )


def test_of_another_candidate_no_truth_is_known():
    batch = replace(_window(), label=torch.ones(2, 2))
    assert batch.about(torch.tensor([1, 2])).label is None


def test_pairs_ask_of_the_last_event_and_of_one_in_its_place():
    pairs = _window().pairs(BOTH)
    assert pairs.user.tolist() == [1, 2, 1, 2]
    assert pairs.candidate.tolist() == [6, 9, 11, 13]
    assert pairs.label is not None
    assert pairs.label[:, 0].tolist() == [1, 1, 0, 0]
    assert pairs.label[:2, 1].tolist() == [4, 5]
    assert pairs.label[2:, 1].isnan().all()  # nobody has rated what was drawn
    assert pairs.history.tolist() == [[0, 5], [7, 8]] * 2
    assert pairs.history_time.tolist() == [[0, 50], [70, 80]] * 2
    assert pairs.history_action.tolist() == [[0, 1], [2, 1]] * 2
    assert pairs.profile.tolist() == [[3, 0], [4, 1]] * 2
    assert pairs.negatives is None
    assert pairs.learned is None
    assert pairs.truth is None


def test_only_training_windows_are_made_into_pairs():
    with pytest.raises(AssertionError, match="only training windows have negatives"):
        _window().pairs(BOTH).pairs(BOTH)


def test_windows_end_with_an_event_of_theirs():
    window = _window().ending(torch.tensor([1, 2]))
    assert window.history.tolist() == [[0, 0, 5], [7, 8, 9]]
    assert window.history_time.tolist() == [[0, 0, 50], [70, 80, 90]]
    assert window.history_action.tolist() == [[0, 0, 1], [2, 1, 2]]
    assert window.learned.tolist() == [[False, False, True], [False, False, True]]
    assert window.truth[0].tolist() == [[0, 0], [0, 0], [1, 3.5]]
    assert window.truth[1].tolist() == _window().truth[1].tolist()
    assert window.candidate.tolist() == [5, 9]
    earlier = window.earlier()
    assert earlier.history.tolist() == [[0, 0], [7, 8]]
    assert earlier.truth.shape == (2, 2, 2)
    assert torch.equal(earlier.negatives, window.negatives)
