"""Shadows know half of the users each, and are trained once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec import Recipe
from xrec import run as carry_out
from xrec.audit import shadows
from xrec.audit.shadows import Shadow, halves
from xrec.errors import RunError
from xrec.options import AdaptOptions
from xrec.runs.run import Run


@pytest.fixture
def own_run(tiny_run, tmp_path: Path) -> Run:
    """A copy of the tiny run that may be written to."""
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


@settings(deadline=None)
@given(st.integers(20, 60), st.integers(3, 8), st.integers(0, 5))
def test_everybody_is_in_half_of_them(users: int, pairs: int, seed: int) -> None:
    inside = halves(users, 2 * pairs, seed)
    assert torch.equal(inside[::2], ~inside[1::2])
    assert (inside.sum(0) == pairs).all()
    assert (inside[::2].sum(1) == users // 2).all()
    assert torch.equal(inside[:4], halves(users, 4, seed))
    assert len(inside[::2].unique(dim=0)) == pairs


def test_a_shadow_learns_from_its_members_alone(own_run) -> None:
    members = torch.tensor([2, 3, 11])
    shadow = Shadow(own_run, 3, members)
    ids = [own_run.data.users.ids[user] for user in members.tolist()]
    assert shadow.data.users.ids[1:] == ids
    assert set(shadow.data.tables.interactions["user"]) == set(ids)
    assert set(shadow.data.windows().user.tolist()) == {1, 2, 3}
    assert shadow.recipe.seed == shadow.data.seed == own_run.recipe.seed + 4
    assert shadow.texts is own_run.texts


def times(run: Run) -> dict[str, int]:
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in run.folder.glob("audit/shadows/*/weights.safetensors")
    }


def test_what_was_trained_is_not_trained_again(own_run) -> None:
    for _ in shadows.trained(own_run, halves(60, 2, 0), None):
        pass
    before = times(own_run)
    assert sorted(before) == ["001", "002"]
    again = shadows.trained(Run.open(own_run.folder), halves(60, 4, 0), None)
    found = [shadow.model for shadow in again]
    after = times(own_run)
    assert sorted(after) == ["001", "002", "003", "004"]
    assert {name: after[name] for name in before} == before
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in found]
    assert not torch.equal(weights[0], weights[1])


def test_other_members_are_another_shadow(own_run) -> None:
    written = []
    for seed in (0, 1):
        for shadow in shadows.trained(own_run, halves(60, 2, seed), None):
            assert len(shadow.data.users) == 31
        written.append(times(own_run))
    assert all(written[0][name] != written[1][name] for name in ("001", "002"))


def test_an_explainer_that_learns_does_so_from_each_shadow(tiny_run, tmp_path: Path) -> None:
    given = {**tiny_run.recipe.resolved, "fidelity": []}
    given["explain"] = [{"name": "amortised_shapley", "epochs": 1, "rows": 32}]
    run = carry_out(Recipe.of(given), tmp_path)
    for shadow in shadows.trained(run, halves(60, 2, 0), "amortised_shapley"):
        assert (shadow.folder / "explainers" / "amortised_shapley.safetensors").is_file()


def test_the_same_shadow_is_the_same_model(tiny_run, tmp_path: Path) -> None:
    weights = []
    for name in ("one", "other"):
        shutil.copytree(tiny_run.folder, tmp_path / name)
        (first, *_) = shadows.trained(Run.open(tmp_path / name), halves(60, 2, 0), None)
        weights.append(first.model.state_dict())
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name])


@pytest.mark.parametrize("count", [0, 4, 7])
def test_shadows_come_in_pairs(tiny_run, count: int) -> None:
    with pytest.raises(RunError, match=f"an audit of {count} shadows .* an even number from 6 on"):
        shadows.check(tiny_run, count)


def test_too_few_users(tiny_run) -> None:
    few = Run.open(tiny_run.folder)
    few.data = tiny_run.data.among(torch.arange(1, 20))
    with pytest.raises(RunError, match=r"has 19 users, too few for shadows.*at least 20"):
        shadows.check(few, 6)


def test_nobody_is_outside_of_a_trunk_that_all_are_in(tiny_run) -> None:
    adapted = Run.open(tiny_run.folder)
    adapted.recipe = replace(adapted.recipe, adapt=AdaptOptions("runs/other", "rating"))
    with pytest.raises(RunError, match=r"adapts the trunk of run runs/other.*audit that run"):
        shadows.check(adapted, 6)
