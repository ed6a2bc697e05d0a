"""Masked rows that are the same, against a loop; and a model that reads once what they share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.explain.game import Game
from xrec.models.distinct import distinct
from xrec.testing import small_model

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=30)


@given(
    rows=st.integers(1, 4),
    count=st.integers(1, 40),
    slots=st.integers(1, 90),
    base=st.sampled_from([0, 2**30]),
    seed=st.integers(0, 999),
)
@QUICK
def test_pairs_that_are_the_same(rows, count, slots, base, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    row = base + torch.randint(rows, (count,), generator=generator)
    inside = torch.rand(count, slots, generator=generator) < (0.5 if slots < 5 else 0.02)
    first, where = distinct(row, inside)
    told = [(int(r), tuple(i.tolist())) for r, i in zip(row, inside, strict=True)]
    assert len(first) == len(set(told))
    for at, which in enumerate(where.tolist()):
        assert told[int(first[which])] == told[at]
    assert [told[at] for at in first.tolist()] == sorted(set(told))


def test_what_rows_share_is_read_once() -> None:
    model, inputs = small_model(history=4, users=3)
    model, inputs = model.double(), inputs.with_values(inputs.values.double())
    index = torch.arange(3).repeat_interleave(40)
    many = inputs.rows(index)
    drop = torch.rand(many.present.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    fewer = many.with_present(many.present & (~drop | many.features.fixed))
    known, read = fewer.from_source(index), []
    model.layers[0].register_forward_hook(lambda layer, given, out: read.append(len(given[0])))
    with torch.no_grad():
        expected, found = model.score(fewer), model.score(known)
    assert torch.allclose(found, expected, atol=1e-12)
    query = int((inputs.features.group[0] == 0).nonzero()[0, 0])
    told = {
        (int(r), tuple(p.tolist())) for r, p in zip(index, fewer.present[:, :query], strict=True)
    }
    assert read == [120, len(told)]
    assert len(told) < 110


def test_inputs_lose_their_sources_with_their_vectors() -> None:
    _, inputs = small_model(history=4, users=3)
    known = inputs.from_source(torch.arange(3))
    assert known.with_values(inputs.values + 1).source is None
    assert known.with_present(inputs.present).source is not None
    assert known.rows(torch.tensor([2, 0])).source.tolist() == [2, 0]
    assert known.wide(inputs.present.shape[1] + 2).source is not None


@pytest.mark.parametrize("absent", ["remove", "baseline", "resample"])
def test_only_removal_leaves_vectors_as_they_are(absent: str) -> None:
    model, inputs = small_model(history=4, users=3)
    seen = []

    def target(model, inputs):
        seen.append(inputs.source)
        return model.score(inputs)

    Game(model, inputs, target, absent).value(torch.rand(3, 5, inputs.present.shape[1]) < 0.5)
    assert all((source is not None) == (absent == "remove") for source in seen)
