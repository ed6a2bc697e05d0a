"""The recipe for music among friends, on the real Last.fm, from files to report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shipped import finished, ndcg, needs_data


@pytest.mark.slow
@pytest.mark.timeout(2400)
@needs_data
def test_the_model_is_ahead_of_popularity(tmp_path: Path) -> None:
    run = finished("social", tmp_path)
    means = ndcg(run)
    assert means["sequential"] > means["popularity"]
    data = json.loads((run / "data.json").read_text())
    assert data["rows"]["relations"] > 20_000
    found = {each["what"]: each for each in data["found"]}
    assert found["events without user or item"]["found"] == 0  # none is dropped for its time
    assert found["items with broken text"]["mended"] > 0
    assert not any(check["found"] for check in data["leakage"])
    report = (run / "report.html").read_text()
    assert "Recommended to user" in report
    assert "one event, drawn at random, is the test" in report
