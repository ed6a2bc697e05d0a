"""The recipe for films, on the real MovieLens 100K, from files to report."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from shipped import finished, ndcg, needs_data

from xrec.fidelity.statistics import paired


@pytest.mark.slow
@pytest.mark.timeout(2400)
@needs_data
def test_the_model_is_ahead_of_popularity_and_item_knn(tmp_path: Path) -> None:
    run = finished("video", tmp_path, "train.epochs=30", "protocol.users=60")
    means = ndcg(run)
    assert means["sequential"] > max(means["popularity"], means["item_knn"])
    told, drawn = (
        pl.read_parquet(run / f"fidelity/{name}.parquet")
        for name in ("integrated_gradients", "random")
    )
    # Paired: what there is to lose differs more between users than between explainers.
    assert told["user"].to_list() == drawn["user"].to_list()
    gaps = {
        name: paired(told[name].to_numpy(), drawn[name].to_numpy()) for name in told.columns[1:]
    }
    assert gaps["deletion"]["high"] < 0
    assert gaps["insertion"]["low"] > 0
    assert "Recommended to user" in (run / "report.html").read_text()
