"""The recipes that xrec ships, carried out by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[1] / "recipes"

needs_data = pytest.mark.skipif(
    "XREC_DATA_DIR" not in os.environ, reason="XREC_DATA_DIR is not set"
)


def finished(name: str, out: Path, *changes: str) -> Path:
    """The folder of a finished run of a recipe, changed: 20 users, two explainers, `changes`."""
    call = [sys.executable, "-c", "from xrec.cli import main; main()", "run"]
    shorter = ["protocol.users=20", "explain=[integrated_gradients,random]"]
    done = subprocess.run(
        [*call, str(RECIPES / f"{name}.yaml"), *shorter, *changes, "--runs", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = (out / name).iterdir()
    return run


def ndcg(run: Path) -> dict[str, float]:
    """NDCG@10 of each model of a run."""
    table = json.loads((run / "quality.json").read_text())["ranking"]
    return {model: measured["ndcg@10"]["mean"] for model, measured in table.items()}
