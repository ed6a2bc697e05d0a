"""The recipe for films, on the real MovieLens 100K, from files to report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[1] / "recipes" / "video.yaml"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.timeout(2400)
@pytest.mark.skipif("XREC_DATA_DIR" not in os.environ, reason="XREC_DATA_DIR is not set")
def test_the_model_is_ahead_of_popularity_and_item_knn(tmp_path: Path) -> None:
    call = [sys.executable, "-c", "from xrec.cli import main; main()", "run", str(RECIPE)]
    shorter = ["train.epochs=30", "protocol.users=20", "explain=[integrated_gradients,random]"]
    done = subprocess.run(
        [*call, *shorter, "--runs", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "video").iterdir()
    table = json.loads((run / "quality.json").read_text())["ranking"]
    ndcg = {model: measured["ndcg@10"]["mean"] for model, measured in table.items()}
    assert ndcg["sequential"] > max(ndcg["popularity"], ndcg["item_knn"])
    told = {
        name: json.loads((run / f"fidelity/{name}.json").read_text())["measures"]
        for name in ("integrated_gradients", "random")
    }
    assert told["integrated_gradients"]["deletion"]["high"] < told["random"]["deletion"]["low"]
    assert told["integrated_gradients"]["insertion"]["low"] > told["random"]["insertion"]["high"]
    assert "Recommended to user" in (run / "report.html").read_text()
