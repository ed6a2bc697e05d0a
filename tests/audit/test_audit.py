"""An audit catches a model that learned by heart, and clears one that saw nobody."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from chapters import blocks, rendered, words

from xrec import Recipe
from xrec import run as carry_out
from xrec.audit import telling
from xrec.audit.audit import Asked, _drawn, audit, explainer_of
from xrec.audit.shadows import halves
from xrec.errors import RunError
from xrec.files import digest
from xrec.report.section import Table
from xrec.report.summary import interval, mean
from xrec.runs.run import Run

SMALL = Asked(shadows=6, users=60)
RULE = """
name: rule
data: {dataset: planted, users: 60, items: 100, events: 8, history: 8}
encoder: {name: hashed, size: 16}
model: planted_rule
explain: [leave_one_out]
protocol: {users: 6}
"""
RANDOM = """
name: random
data: {dataset: parquet, interactions: %s, history: 10}
encoder: {name: hashed, size: 16}
model: {name: sequential, width: %d, layers: 1, dropout: 0.0}
train: {epochs: %d, batch: 16, negatives: 16, lr: %g, weight_decay: 0, monitor: train_loss,
  patience: 1000, checkpoint: 0}
explain: [leave_one_out]
protocol: {users: 6}
"""


def run_of(text: str, folder: Path) -> Run:
    (folder / "recipe.yaml").write_text(text)
    return carry_out(Recipe.load(folder / "recipe.yaml"), folder / "runs")


@pytest.fixture
def own_run(tiny_run, tmp_path: Path) -> Run:
    """A copy of the tiny run that may be written to."""
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


def claiming(run: Run, claims: dict[str, dict]) -> None:
    """Have the run's training claim so, as mechanisms do."""
    path = run.folder / "stages" / "train.json"
    record = json.loads(path.read_text())
    for name, claim in claims.items():
        run.store.write_json(f"privacy/{name}.json", claim)
        record["writes"][f"privacy/{name}.json"] = digest(run.folder / f"privacy/{name}.json")
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def audited(tiny_run, tmp_path_factory) -> Run:
    """A copy of the tiny run with an audit that read a claim of privacy. Not to be written to."""
    folder = tmp_path_factory.mktemp("audited") / "run"
    shutil.copytree(tiny_run.folder, folder)
    claim = {"epsilon": 8.0, "delta": 1e-3, "level": "user"}
    run = Run.open(folder)
    claiming(run, {"mine": claim, "none": {"epsilon": None, "delta": None, "level": "client"}})
    audit(run, SMALL)
    return run


def histories(folder: Path, users: int = 60, items: int = 80, events: int = 8) -> Path:
    """Histories drawn at random: there is nothing to learn of them but by heart."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}", at)
        for user in range(users)
        for at, item in enumerate(rng.choice(items, events, replace=False))
    ]
    path = folder / "histories.parquet"
    pl.DataFrame(rows, ["user", "item", "time"], orient="row").write_parquet(path)
    return path


def test_a_model_that_no_data_made_is_at_chance(tmp_path: Path) -> None:
    """All shadows are one and the same, so that nobody can be told from anybody."""
    found = audit(run_of(RULE, tmp_path), SMALL)
    for of, attacks in (("model", 4), ("explanations", 4)):
        assert len(found[of]) == attacks
        for name, each in found[of].items():
            if name != "threshold":  # whose answers differ by user, if not by what was learned
                assert each["auc"]["mean"] == 0.5
            assert each["epsilon"] == 0
    for of in ("model", "explanations"):
        each = found[of]["threshold"]["auc"]
        assert each["mean"] == pytest.approx(0.5, abs=1e-6)  # each is in as many as not
        assert each["low"] <= each["mean"] <= each["high"]


def test_an_untrained_model_is_at_chance(tmp_path: Path) -> None:
    """It is drawn anew for each shadow; what learning changes is too little to be written down."""
    found = audit(run_of(RANDOM % (histories(tmp_path), 8, 1, 1e-30), tmp_path), SMALL)
    spread = 1 / math.sqrt(12 * 30 * 6 / 2)  # of the mean of six AUCs of 30 and 30, or a bit less
    for of in ("model", "explanations"):
        for each in found[of].values():
            assert each["auc"]["mean"] == pytest.approx(0.5, abs=4 * spread)
            assert each["epsilon"] < 0.2


@pytest.mark.slow
def test_a_model_that_learned_by_heart_is_caught(tmp_path: Path) -> None:
    found = audit(run_of(RANDOM % (histories(tmp_path), 64, 120, 3e-3), tmp_path), SMALL)
    for name in ("threshold", "lira", "lira_offline", "lira_pooled"):
        each = found["model"][name]
        assert each["auc"]["low"] > 0.9
        assert each["tpr"]["0.01"] > 0.5
    assert found["model"]["lira_pooled"]["epsilon"] > 1
    assert found["explanations"]["lira_pooled"]["auc"]["low"] > 0.6
    assert found["events"]["model"] > 0.8


def test_what_is_written_holds_figures_alone(audited) -> None:
    text = (audited.folder / "audit" / "audit.json").read_text()
    for name in (
        *audited.data.users.ids[1:],
        *audited.data.items.ids[1:],
        *audited.data.titles[1:],
    ):
        assert f'"{name}"' not in text
    found = json.loads(text)
    assert found["asked"] == {"shadows": 6, "users": 60, "explainer": "leave_one_out"}
    assert found["trained_on"] == 30
    assert found["epsilon"]["claimed"]["epsilon"] == 8
    assert found["epsilon"]["delta"] == 1e-3


def test_rows_say_who_was_in_and_what_was_said(audited) -> None:
    rows = pl.read_parquet(audited.folder / "audit" / "rows.parquet")
    found = audited.store.json("audit/audit.json")
    assert len(rows) == 6 * 60
    assert (rows.group_by("user").agg(pl.col("member").sum())["member"] == 3).all()
    for of in ("model", "explanations"):
        for name, each in found[of].items():
            areas = []
            for (_,), part in rows.group_by("shadow"):
                member, other = (
                    part.filter(member=known)[f"{of}_{name}"].to_numpy() for known in (True, False)
                )
                won = (member[:, None] > other).mean() + (member[:, None] == other).mean() / 2
                areas.append(won)
            assert each["auc"]["mean"] == pytest.approx(np.mean(areas))


def test_the_report_tells_of_it(audited) -> None:
    found = audited.store.json("audit/audit.json")
    chapter = rendered("audit", audited)
    attacks, guesses = blocks(chapter, Table)
    assert (attacks.head, attacks.rows) == telling.attacks(found, interval)
    assert (guesses.head, guesses.rows) == telling.guesses(found, interval)
    assert "Claimed is an epsilon of 8.00 per user." in words(chapter)
    assert f"at least {found['model']['lira_pooled']['epsilon']:.2f} per user" in words(chapter)
    html = (audited.folder / "report.html").read_text()
    assert html.index(chapter.title) < html.index("How to make it again")


def test_a_run_that_was_not_audited_has_nothing_to_tell(tiny_run) -> None:
    assert not rendered("audit", tiny_run).blocks
    assert "What leaks" not in (tiny_run.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (None, "No privacy is claimed"),
        ({"epsilon": 8.0, "delta": 1e-5, "level": "example"}, "that is not the same"),
        ({"epsilon": 8.0, "delta": 1e-5, "level": "user"}, "which does not contradict it"),
        ({"epsilon": 1.0, "delta": 1e-5, "level": "user"}, "which contradicts it"),
    ],
)
def test_a_claim_is_held_against_what_was_found(audited, tmp_path: Path, claim, said) -> None:
    found = audited.store.json("audit/audit.json")
    found["epsilon"]["claimed"] = claim
    found["model"]["lira_pooled"]["epsilon"] = 2.0
    other = Run(audited.recipe, tmp_path)
    other.store.write_json("audit/audit.json", found)
    assert said in words(rendered("audit", other))


def test_an_audit_that_was_done_is_read(audited) -> None:
    lines: list[str] = []
    again = Run.open(audited.folder)
    again.tell = lines.append
    assert audit(again, SMALL) == audited.store.json("audit/audit.json")
    assert lines == ["audit: done before", "report: done before"]


def test_the_run_is_as_it_was_when_it_is_carried_out_again(own_run, tmp_path: Path) -> None:
    audit(own_run, SMALL)
    folder = tmp_path / own_run.recipe.name / own_run.recipe.digest()[:10]
    shutil.copytree(own_run.folder, folder)
    lines: list[str] = []
    carry_out(own_run.recipe, tmp_path, tell=lines.append)
    assert all(line.endswith("done before") for line in lines)


def test_of_those_who_are_asked_about_every_shadow_knows_some_and_not_others(tiny_run) -> None:
    users = _drawn(tiny_run, 20)
    assert len(users.unique()) == 20
    inside = halves(len(tiny_run.data.users) - 1, 6, tiny_run.recipe.seed)[:, users - 1]
    assert (inside.any(1) & ~inside.all(1)).all()


def test_without_explainers_the_model_alone_is_attacked(tmp_path: Path) -> None:
    found = audit(run_of(RULE.replace("explain: [leave_one_out]", ""), tmp_path), SMALL)
    assert "explanations" not in found
    assert "reconstruction" not in found
    assert telling.guesses(found, mean)[1] == []


@pytest.mark.parametrize("epsilon", [8.0, None])
def test_a_mechanism_is_held_to_what_it_claims(epsilon, tiny_recipe, tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    private = {"name": "dp_sgd", "epsilon": epsilon, "delta": 1e-3, "accountant": "rdp", "seed": 1}
    federated = {"name": "federated", "clients": 3, "rounds": 1}
    given = Recipe.load(tiny_recipe).resolved
    recipe = Recipe.of({**given, "privacy": [private if epsilon else federated], "explain": []})
    claimed = audit(carry_out(recipe, tmp_path / "runs"), SMALL)["epsilon"]["claimed"]
    if epsilon is None:
        assert claimed is None
    else:
        assert (claimed["mechanism"], claimed["level"]) == ("dp_sgd", "user")
        assert claimed["epsilon"] == epsilon


# Bad input


def test_what_is_no_run(xrec, tmp_path: Path) -> None:
    code, _, err = xrec("audit", tmp_path)
    assert code == 2
    assert err.count("\n") == 1
    assert "is not a run" in err


def test_an_explainer_that_is_not_the_runs(xrec, tiny_run) -> None:
    code, _, err = xrec("audit", tiny_run.folder, "--explainer", "leave_one_in")
    assert code == 2
    assert err.count("\n") == 1
    assert "has no explainer 'leave_one_in': did you mean 'leave_one_out'?" in err


def test_an_explainer_that_chooses_among_others(tiny_run) -> None:
    class Chooser:
        def choose(self, measured):
            return "the first"

    run = Run.open(tiny_run.folder)
    pairs = {"chooser": (None, Chooser()), **run.explainers()}
    run.explainers = lambda: pairs
    assert explainer_of(run, None) == "leave_one_out"
    with pytest.raises(RunError, match=r"'chooser' chooses among others: .* leave_one_out, random"):
        explainer_of(run, "chooser")


def test_too_few_to_be_asked_about(xrec, tiny_run) -> None:
    code, _, err = xrec("audit", tiny_run.folder, "--users", 5)
    assert code == 2
    assert "an audit about 5 users says nothing: ask for at least 20" in err


def test_a_run_that_is_not_finished(own_run) -> None:
    (own_run.folder / "stages" / "report.json").unlink()
    with pytest.raises(RunError, match="is not finished: finish it with 'xrec run' first"):
        audit(own_run, SMALL)


def test_the_command_prints_what_was_found(xrec, audited, tmp_path: Path) -> None:
    code, out, _ = xrec("audit", audited.folder, "--shadows", 6, "--users", 60)
    assert code == 0
    for word in ("model, LiRA", "explanations, LiRA, pooled", "without names", "audit.json"):
        assert word in out
    assert not [name for name in audited.data.users.ids[1:] if f" {name} " in out]
