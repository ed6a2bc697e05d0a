"""Seeds that follow from a row's features alone."""

from __future__ import annotations

from dataclasses import replace

import torch

from xrec.explain.seeds import row_seeds
from xrec.testing import small_model


def test_seeds_follow_from_a_rows_own_features() -> None:
    model, inputs = small_model(users=6)
    seeds = row_seeds(inputs, 0)
    assert len(set(seeds)) == 6
    order = torch.tensor([3, 0, 5])
    assert row_seeds(inputs.rows(order), 0) == [seeds[at] for at in order]
    batch = model.data_module.queries("test", torch.arange(1, 7))
    wide = {
        name: torch.nn.functional.pad(getattr(batch, name), (3, 0))
        for name in ("history", "history_time", "history_action")
    }
    assert row_seeds(model.embed(replace(batch, **wide)), 0) == seeds
    assert set(row_seeds(inputs, 1)).isdisjoint(seeds)
    assert row_seeds(inputs, -1) != seeds
