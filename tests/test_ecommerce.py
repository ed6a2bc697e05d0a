"""The recipe for a shop, on the real Online Retail, from the file to the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[1] / "recipes" / "ecommerce.yaml"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.timeout(2400)
@pytest.mark.skipif("XREC_DATA_DIR" not in os.environ, reason="XREC_DATA_DIR is not set")
def test_the_model_is_ahead_of_popularity(tmp_path: Path) -> None:
    call = [sys.executable, "-c", "from xrec.cli import main; main()", "run", str(RECIPE)]
    shorter = ["protocol.users=20", "explain=[integrated_gradients,random]"]
    done = subprocess.run(
        [*call, *shorter, "--runs", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "ecommerce").iterdir()
    table = json.loads((run / "quality.json").read_text())["ranking"]
    ndcg = {model: measured["ndcg@10"]["mean"] for model, measured in table.items()}
    assert ndcg["sequential"] > ndcg["popularity"]
    data = json.loads((run / "data.json").read_text())
    found = {each["what"]: each for each in data["found"]}
    assert found["cancellations"]["dropped"] > 0
    assert found["events that were cancelled, wholly or in part"]["found"] > 0
    assert found["items that are another under a second id"]["dropped"] > 0
    assert not any(check["found"] for check in data["leakage"])
    report = (run / "report.html").read_text()
    assert "Recommended to user" in report
    assert "No leakage was found" in report
