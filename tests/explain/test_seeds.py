"""Seeds that follow from a row's features alone, and generators left as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from xrec.explain.seeds import row_seeds, seeded
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


def test_global_generators_are_left_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(2).tolist(), np.random.rand(2).tolist()
    torch.manual_seed(5)
    np.random.seed(5)
    drawn = []
    for _ in range(2):
        with pytest.raises(KeyError), seeded(2**50, torch.device("cpu")):
            drawn.append((float(torch.rand(())), float(np.random.rand())))
            raise KeyError
    assert drawn[0] == drawn[1]
    assert (torch.rand(2).tolist(), np.random.rand(2).tolist()) == expected
