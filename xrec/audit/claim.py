"""What a run says of its own privacy: a claim that attacks are held against."""

from __future__ import annotations

import json
from typing import Any

from xrec.runs.run import Run

PARTS = ("mechanism", "level", "delta")


def claim(run: Run) -> dict[str, Any] | None:
    """`epsilon` as it was spent, `delta`, and the `level` of the unit that it is for.

    A mechanism that bounds what weights tell leaves `privacy/NAME.json` with `spent`, `delta` and
    `level`. Of several the one for users counts, and of these the least. None: nothing is claimed.
    """
    told = [json.loads(path.read_text("utf-8")) for path in run.folder.glob("privacy/*.json")]
    claims = [
        {"epsilon": each["spent"], **{name: each[name] for name in PARTS}}
        for each in told
        if each.get("spent") is not None
    ]
    return min(claims, key=lambda each: (each["level"] != "user", each["epsilon"]), default=None)
