"""What a run claims of its privacy: by the mechanism that bounds most of a user."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from xrec.audit.claim import claim

CLIENT = {"mechanism": "federated", "epsilon": 1, "spent": 0.5, "delta": 1e-3, "level": "client"}
USER = {"mechanism": "dp_sgd", "epsilon": 8, "spent": 7.5, "delta": 1e-5, "level": "user"}
EXAMPLE = {**USER, "mechanism": "other", "spent": 2.0, "level": "example"}
NOTHING = {**CLIENT, "epsilon": None, "spent": None, "delta": None}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], None),
        ([NOTHING], None),
        ([USER], 7.5),
        ([CLIENT, USER, EXAMPLE], 7.5),
        ([EXAMPLE, CLIENT], 0.5),
        ([USER, {**USER, "mechanism": "tighter", "spent": 3.0}], 3.0),
    ],
)
def test_of_several_claims_that_for_users_counts(tmp_path, told: list, expected) -> None:
    (tmp_path / "privacy").mkdir()
    for each in told:
        (tmp_path / "privacy" / f"{each['mechanism']}.json").write_text(json.dumps(each))
    found = claim(SimpleNamespace(folder=tmp_path))  # type: ignore[arg-type]
    assert (found and found["epsilon"]) == expected
