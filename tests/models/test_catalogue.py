"""Scoring the whole catalogue with a model that scores one candidate at a time."""

from __future__ import annotations

import pytest
import torch

from xrec.models import catalogue
from xrec.models.catalogue import score_each
from xrec.testing import small_model


@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_every_pair_is_scored_whatever_the_chunk(rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(catalogue, "ROWS", rows)
    model, _ = small_model()
    batch = model.data_module.queries("test").rows(slice(0, 3))
    found = score_each(model, batch)
    assert found.shape == (3, len(model.data_module.items))
    assert not found.requires_grad
    with torch.no_grad():
        for item in range(len(model.data_module.items)):
            expected = model(batch.about(torch.full_like(batch.candidate, item)))
            assert torch.allclose(found[:, item], expected, atol=1e-5)


def test_no_more_pairs_are_held_at_once_than_fit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(catalogue, "ROWS", 10)
    model, _ = small_model()
    sizes = []
    model.register_forward_pre_hook(lambda _, batch: sizes.append(len(batch[0])))
    score_each(model, model.data_module.queries("test").rows(slice(0, 3)))
    assert sum(sizes) == 3 * len(model.data_module.items)
    assert max(sizes) <= 10
