"""The recipe for music among friends, on the real Last.fm, from files to report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[1] / "recipes" / "social.yaml"


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
    (run,) = (tmp_path / "social").iterdir()
    table = json.loads((run / "quality.json").read_text())["ranking"]
    ndcg = {model: measured["ndcg@10"]["mean"] for model, measured in table.items()}
    assert ndcg["sequential"] > ndcg["popularity"]
    data = json.loads((run / "data.json").read_text())
    assert data["rows"]["relations"] > 20_000
    found = {each["what"]: each for each in data["found"]}
    assert found["events without user or item"]["found"] == 0  # none is dropped for its time
    assert found["items with broken text"]["mended"] > 0
    assert not any(check["found"] for check in data["leakage"])
    report = (run / "report.html").read_text()
    assert "Recommended to user" in report
    assert "one event, drawn at random, is the test" in report
