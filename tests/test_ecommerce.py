"""The recipe for a shop, on the real Online Retail, from the file to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shipped import finished, ndcg, needs_data


@pytest.mark.slow
@pytest.mark.timeout(2400)
@needs_data
def test_the_model_is_ahead_of_popularity(tmp_path: Path) -> None:
    run = finished("ecommerce", tmp_path)
    means = ndcg(run)
    assert means["sequential"] > means["popularity"]
    data = json.loads((run / "data.json").read_text())
    found = {each["what"]: each for each in data["found"]}
    assert found["cancellations"]["dropped"] > 0
    assert found["events that were cancelled, wholly or in part"]["found"] > 0
    assert found["items that are another under a second id"]["dropped"] > 0
    assert not any(check["found"] for check in data["leakage"])
    report = (run / "report.html").read_text()
    assert "Recommended to user" in report
    assert "No leakage was found" in report
