"""The recipe for films, on the real MovieLens 100K, from files to report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shipped import finished, ndcg, needs_data


@pytest.mark.slow
@pytest.mark.timeout(2400)
@needs_data
def test_the_model_is_ahead_of_popularity_and_item_knn(tmp_path: Path) -> None:
    run = finished("video", tmp_path, "train.epochs=30")
    means = ndcg(run)
    assert means["sequential"] > max(means["popularity"], means["item_knn"])
    told = {
        name: json.loads((run / f"fidelity/{name}.json").read_text())["measures"]
        for name in ("integrated_gradients", "random")
    }
    assert told["integrated_gradients"]["deletion"]["high"] < told["random"]["deletion"]["low"]
    assert told["integrated_gradients"]["insertion"]["low"] > told["random"]["insertion"]["high"]
    assert "Recommended to user" in (run / "report.html").read_text()
