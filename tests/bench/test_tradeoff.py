"""The grid of variants by explainers, on a tiny world."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from xrec import Recipe
from xrec.bench import tradeoff as module
from xrec.bench.tradeoff import ROWS, SUMMARY, TABLE, tradeoff
from xrec.compress.state import size
from xrec.errors import RecipeError
from xrec.runs.run import Run

GRID = """
name: grid
data: {dataset: planted, users: 60, items: 100, events: 8, history: 8}
encoder: {name: hashed, size: 16}
model: {name: sequential, width: 16, layers: 1}
train: {epochs: 1, batch: 16, negatives: 8, lr: 0.01}
explain: [picky, leave_one_out, {name: within_budget, latency_ms: 50, fidelity: 0.5}]
fidelity: [deletion, planted_truth]
protocol: {points: 3, repeats: 1, batch: 2}
bench: {users: 8}
"""
VARIANTS = ["as trained", "broken", "coarse", "forgetful"]
CELLS = len(VARIANTS) * 3  # two explainers, and what is the same for both
TIMED = ("p50", "peak_bytes")


class Killed(Exception):
    """What stands for a kill."""


def recipe(folder: Path) -> Recipe:
    (folder / "grid.yaml").write_text(GRID)
    return Recipe.load(folder / "grid.yaml")


@pytest.fixture(scope="module")
def whole(installed, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A grid that nobody stopped, and what it told."""
    folder, said = tmp_path_factory.mktemp("whole"), []
    return tradeoff(recipe(folder), folder / "runs", said.append), said


def table(whole: tuple[Path, list[str]]) -> pl.DataFrame:
    return pl.read_parquet(whole[0] / TABLE)


def test_a_row_a_cell_the_model_as_trained_first(whole) -> None:
    found = table(whole)
    assert found["variant"].unique(maintain_order=True).to_list() == VARIANTS
    assert found.select("variant", "explainer").n_unique() == len(found) == len(VARIANTS) * 2
    good = found.filter(pl.col("said").is_null())
    told = ("ndcg@10", "p50", "peak_bytes", "model_bytes", "leakage", "leakage_explanation")
    assert good.select(told).null_count().row(0) == (0,) * len(told)
    assert good["leakage"].is_between(0, 1).all()
    assert found["fit_seconds"].null_count() == len(found)  # none of them learns
    assert "within_budget" not in found["explainer"]


def test_what_does_not_work_says_why_and_holds_up_nothing(whole) -> None:
    found = table(whole)
    failed = found.drop_nulls("said")
    said = dict(zip(failed.select("variant", "explainer").rows(), failed["said"], strict=True))
    assert said == {
        ("broken", "picky"): "compressor 'broken' cannot work with it: choose another",
        ("broken", "leave_one_out"): "compressor 'broken' cannot work with it: choose another",
        ("coarse", "picky"): "explainer 'picky' cannot explain a coarse model",
    }
    measures = [name for name in found.columns if name.startswith(("deletion", "planted"))]
    assert len(measures) > 2
    nothing = (*measures, "agreement_rank", "agreement_top", "p50", "leakage_explanation")
    assert failed.select(nothing).null_count().row(0) == (len(failed),) * len(nothing)
    coarse = failed.filter(variant="coarse")
    assert coarse["ndcg@10"].null_count() == 0  # the model itself is well


def test_quality_is_that_of_each_variants_run(whole) -> None:
    folder = whole[0].parent
    runs = {path.parent: json.loads(path.read_text()) for path in folder.glob("*/quality.json")}
    assert len(runs) == len(VARIANTS) - 1
    found = {figures["ranking"]["sequential"]["ndcg@10"]["mean"] for figures in runs.values()}
    assert set(table(whole)["ndcg@10"].drop_nulls()) == found
    sizes = {size(Run.open(path).model)["bytes"] for path in runs}
    assert set(table(whole)["model_bytes"].drop_nulls()) == sizes


def test_means_are_of_the_rows_and_all_are_asked_about_the_same(whole) -> None:
    found, rows = table(whole), pl.read_parquet(whole[0] / ROWS)
    mine = {"variant": "as trained", "explainer": "leave_one_out"}
    base = rows.filter(**mine)
    assert len(base) == 8
    assert base["agreement_rank"].to_list() == pytest.approx([1] * 8)
    for name in ("deletion@remove", "agreement_top"):
        assert found.filter(**mine)[name][0] == pytest.approx(base[name].mean())
    coarse = rows.filter(variant="coarse", explainer="leave_one_out")
    assert coarse.select("user", "item").equals(base.select("user", "item"))
    assert 0 < coarse["agreement_rank"].mean() < 1
    assert any(each != 1 for each in coarse["agreement_top"])


def test_users_whom_a_variant_has_forgotten_are_left_out(whole) -> None:
    rows = pl.read_parquet(whole[0] / ROWS).filter(explainer="leave_one_out")
    base, forgetful = (rows.filter(variant=name) for name in ("as trained", "forgetful"))
    assert 0 < len(forgetful) < len(base)
    both = forgetful.join(base, on=("user", "item"), suffix=" before")
    assert len(both) == len(forgetful)
    assert both["events"].equals(both["events before"])
    assert forgetful["agreement_rank"].null_count() == 0


def test_the_summary_says_what_it_was_made_with(whole) -> None:
    summary = json.loads((whole[0] / SUMMARY).read_text())
    assert summary["better"]["deletion@remove"] == "lower"
    assert set(summary["better"]) < set(table(whole).columns)
    assert summary["variants"] == {
        "as trained": {},
        "broken": {"compress": ["broken"]},
        "coarse": {"compress": ["coarse"]},
        "forgetful": {"privacy": ["forgetful"]},
    }
    about = json.loads(pl.read_parquet_metadata(whole[0] / ROWS)["xrec"])
    assert about == summary["about"]
    assert about["data"].startswith("planted, digest ")


def test_it_tells_how_far_it_is(whole) -> None:
    told = [line for line in whole[1] if line.startswith("[")]
    assert [line.split()[0] for line in told] == [f"[{at}/{CELLS}]" for at in range(1, CELLS + 1)]
    assert all(line.endswith(" left") for line in told)
    assert (
        "left out: compressor 'demanding': compress[0].bits: this option must be given"
        in (whole[1])
    )


def test_a_grid_that_was_killed_goes_on_and_repeats_nothing(
    whole, installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    real = module.weighed

    def counted(variant, label):
        done.append((variant.name, label))
        return real(variant, label)

    def killed(text: str) -> None:
        if text.startswith("[8/"):
            raise Killed

    monkeypatch.setattr(module, "weighed", counted)
    with pytest.raises(Killed):
        tradeoff(recipe(tmp_path), tmp_path / "runs", killed)
    assert done
    assert done[-1][0] == "coarse"
    before, said = len(done), []
    folder = tradeoff(recipe(tmp_path), tmp_path / "runs", said.append)
    assert len(done) > before
    assert len(set(done)) == len(done) == (len(VARIANTS) - 1) * 2
    assert "  train: done before" in said
    assert len([line for line in said if line.startswith("[")]) == CELLS - 8
    assert_frame_equal(pl.read_parquet(folder / ROWS), pl.read_parquet(whole[0] / ROWS))
    again = pl.read_parquet(folder / TABLE)
    assert_frame_equal(again.drop(TIMED), table(whole).drop(TIMED))

    before = len(done)
    tradeoff(recipe(tmp_path), tmp_path / "runs")
    assert len(done) == before


def test_a_variant_that_comes_later_is_added(whole, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = whole[0].parents[2]
    (folder / "grid.yaml").write_text(
        GRID.replace("users: 8}", "users: 8, variants: {narrow: {model: {width: 8}}}}")
    )
    monkeypatch.setattr(module, "TABLE", "later.parquet")
    monkeypatch.setattr(module, "ROWS", "later-rows.parquet")
    monkeypatch.setattr(module, "SUMMARY", "later.json")
    said: list[str] = []
    again = tradeoff(Recipe.load(folder / "grid.yaml"), folder / "runs", said.append)
    assert again == whole[0]
    told = [line for line in said if line.startswith("[")]
    assert [line.split()[1] for line in told] == ["narrow", "narrow.picky", "narrow.leave_one_out"]
    found = pl.read_parquet(again / "later.parquet")
    assert found["variant"].unique(maintain_order=True).to_list() == ["as trained", "narrow"]


def test_a_model_as_trained_that_cannot_be_trained_is_an_error(tmp_path: Path) -> None:
    changed = ["explain=[random]", "train.monitor=val_nothing"]
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    with pytest.raises(RecipeError, match=r"train\.monitor"):
        tradeoff(Recipe.load(path, changed), tmp_path / "runs")
    assert not list((tmp_path / "runs").rglob("tradeoff-*"))


def test_a_grid_needs_explainers(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    with pytest.raises(RecipeError, match="list explainers under explain"):
        tradeoff(Recipe.load(tmp_path / "grid.yaml", ["explain=[]"]), tmp_path)


def test_the_command_prints_the_table_and_what_failed(
    whole, installed, xrec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folder = whole[0].parents[2]
    (folder / "grid.yaml").write_text(GRID)
    code, out, err = xrec("bench", "tradeoff", folder / "grid.yaml", "--runs", folder / "runs")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[-1] == f"grid: {whole[0]}"
    assert "coarse, picky: explainer 'picky' cannot explain a coarse model" in lines
    shown = [line for line in lines if line.startswith("as trained, leave_one_out ")]
    assert len(shown) == 1
    assert "1.000" in shown[0]


def test_runs_of_variants_can_be_opened(whole) -> None:
    for path in whole[0].parent.glob("*/quality.json"):
        assert Run.open(path.parent).model is not None
