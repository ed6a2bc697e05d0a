"""Sections tell a run's numbers, and get by where a run lacks something."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from chapters import artefact, blocks, rendered, words

from xrec import Recipe
from xrec.report.page import page
from xrec.report.section import Card, Code, Picture, Table, Terms, Text
from xrec.runs.run import Run

SECTIONS = ("summary", "training", "quality", "fidelity", "recommendations", "layers", "reproduce")


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize("which", ["tiny_run", "planted_run", "bare_run", "unmeasured_run"])
def test_every_section_of_every_run_can_be_laid_out(name: str, which: str, request) -> None:
    chapter = rendered(name, request.getfixturevalue(which))
    assert chapter.title
    assert chapter.blocks
    assert chapter.title in page("a run", [chapter])


def test_the_report_has_the_sections_in_order(tiny_run) -> None:
    html = (tiny_run.folder / "report.html").read_text()
    titles = re.findall(r"<h2[^>]*>([^<]+)</h2>", html)
    assert titles == [rendered(name, tiny_run).title for name in SECTIONS]


# Training and quality


def test_training_tells_sizes_and_the_epoch_that_was_kept(tiny_run) -> None:
    training = artefact(tiny_run, "training.json")
    chapter = rendered("training", tiny_run)
    assert f"({training['learning']:,} learned parameters)" in words(chapter)
    values = [each["val_ndcg@10"] for each in training["epochs"]]
    loss, monitored = blocks(chapter, Picture)
    assert f"the weights of epoch {1 + values.index(max(values))} were kept" in monitored.words
    assert f"kept: {max(values):.3f}" in monitored.svg
    assert "kept" not in loss.words


def test_training_tells_what_cleaning_found_and_what_not(tiny_run, tmp_path) -> None:
    found = artefact(tiny_run, "data.json")
    assert not [each for each in found["found"] if each["found"]]
    chapter = rendered("training", tiny_run)
    assert not blocks(chapter, Table)
    for each in found["found"]:
        assert each["what"] in words(chapter)
    for check in found["leakage"]:
        assert check["what"] in words(chapter)

    copy = Run(tiny_run.recipe, tmp_path)
    copy.store.write_text("training.json", (tiny_run.folder / "training.json").read_text())
    told = found["found"][2]
    told |= {"found": 1235, "dropped": 1234, "mended": 1, "examples": ["u1, i2", "u3, i4"]}
    found["leakage"][-1] |= {"found": 7}
    copy.store.write_json("data.json", found)
    chapter = rendered("training", copy)
    (table,) = blocks(chapter, Table)
    assert table.head == ("what", "found", "dropped", "mended", "such as")
    assert table.rows == [(told["what"], "1,235", "1,234", "1", "u1, i2; u3, i4")]
    (cleaning, leakage) = blocks(chapter, Text)[-2:]
    assert told["what"] not in cleaning.text
    assert leakage.text.startswith(
        "No leakage was found: 0 of 60 validation histories have an event"
    )
    assert leakage.text.endswith("; 7 of 60 test items are ones that the user had before.")


def test_training_by_a_plugin_that_left_no_figures(tiny_run, tmp_path) -> None:
    copy = Run(tiny_run.recipe, tmp_path)
    copy.store.write_text("data.json", (tiny_run.folder / "data.json").read_text())
    copy.store.write_json("training.json", {**artefact(tiny_run, "training.json"), "epochs": []})
    chapter = rendered("training", copy)
    assert not blocks(chapter, Picture)
    assert "left no figures" in words(chapter)


def test_training_of_a_model_that_learns_nothing(tiny_run, tmp_path) -> None:
    copy = Run(tiny_run.recipe, tmp_path)
    copy.store.write_text("data.json", (tiny_run.folder / "data.json").read_text())
    training = {**artefact(tiny_run, "training.json"), "epochs": [], "learning": 0}
    copy.store.write_json("training.json", training)
    chapter = rendered("training", copy)
    assert not blocks(chapter, Picture)
    assert f"({training['parameters']:,} parameters, none of them learned) was set up for" in (
        words(chapter)
    )
    assert "there was nothing to train" in words(chapter)
    assert "left no figures" not in words(chapter)


def test_quality_shows_every_model_and_what_is_measured(tiny_run) -> None:
    found = artefact(tiny_run, "quality.json")
    chapter = rendered("quality", tiny_run)
    ranking, classes = blocks(chapter, Table)
    for row, (model, measured) in zip(ranking.rows, found["ranking"].items(), strict=True):
        assert row[0] == model.replace("_", " ")
        for cell, figure in zip(row[1:], measured.values(), strict=True):
            assert float(cell.split(" ± ")[0]) == pytest.approx(figure["mean"], abs=0.0005)
    assert ranking.strong == ("sequential",)
    (terms,) = blocks(chapter, Terms)
    assert [term for term, _ in terms.pairs] == list(found["ranking"]["sequential"])
    assert f"AUC {found['classification']['auc']:.3f}" in words(chapter)
    assert classes.rows[0][1] == f"{found['classification']['positive']['precision']:.3f}"


# Fidelity


def test_fidelity_shows_every_explainer_and_measure(planted_run) -> None:
    found = {
        label: artefact(planted_run, f"fidelity/{label}.json") for label in planted_run.explainers()
    }
    chapter = rendered("fidelity", planted_run)
    (table,) = blocks(chapter, Table)
    assert [row[0] for row in table.rows] == ["leave one out", "random"]
    assert table.marks == {"leave one out": "floor", "random": "floor"}
    measures = list(found["random"]["better"])
    for row in table.rows:
        each = found[row[0].replace(" ", "_")]
        for cell, measure in zip(row[1:], measures, strict=False):
            mean = each["measures"][measure]["mean"]
            assert float(cell.split(" ± ")[0]) == pytest.approx(mean, abs=0.0005)
        assert row[-2:] == (str(each["latency"]["forward"]), str(each["latency"]["backward"]))
    assert table.spans == [("", 1), ("How faithful it is", len(measures)), ("What it costs", 6)]
    assert sum(width for _, width in table.spans) == len(table.head) == len(table.rows[0])
    meanings, explainers = blocks(chapter, Terms)
    assert [term.replace(" ", "_") for term, _ in meanings.pairs] == measures
    assert all(said for _, said in [*meanings.pairs, *explainers.pairs])
    used = found["random"]["plant_taken_up"]
    assert f"uses in {100 * used:.0f}\N{NO-BREAK SPACE}% of the cases" in words(chapter)


def test_fidelity_sets_the_best_off_but_no_costs(planted_run) -> None:
    found = {
        label: artefact(planted_run, f"fidelity/{label}.json") for label in planted_run.explainers()
    }
    (table,) = blocks(rendered("fidelity", planted_run), Table)
    labels = [row[0].replace(" ", "_") for row in table.rows]
    for column, (measure, way) in enumerate(found["random"]["better"].items(), start=1):
        sign = 1 if way == "higher" else -1
        means = [sign * found[label]["measures"][measure]["mean"] for label in labels]
        assert (means.index(max(means)), column) in table.best
    assert max(column for _, column in table.best) <= len(found["random"]["better"])


def test_fidelity_draws_scores_against_time(planted_run) -> None:
    pictures = blocks(rendered("fidelity", planted_run), Picture)
    assert [each.caption for each in pictures] == [
        "Planted precision: higher is better",
        "Deletion: lower is better",
    ]
    for label in planted_run.explainers():
        each = artefact(planted_run, f"fidelity/{label}.json")
        mean, p50 = each["measures"]["deletion"]["mean"], 1000 * each["latency"]["p50"]
        assert f"{label.replace('_', ' ')} {mean:.3f} at {p50:.1f} ms" in pictures[1].words
        assert f">{label.replace('_', ' ')}</text>" in pictures[1].svg


def test_fidelity_of_measures_that_apply_to_no_recommendation(causeless_run) -> None:
    found = artefact(causeless_run, "fidelity/random.json")
    assert found["measures"]["planted_precision"]["mean"] is None  # else this test tests nothing
    chapter = rendered("fidelity", causeless_run)
    assert "planted causes, but these recommendations have none of them" in words(chapter)
    (table,) = blocks(chapter, Table)
    at = [head.replace("\N{NO-BREAK SPACE}", " ") for head in table.head].index(
        "planted precision ↑"
    )
    assert {row[at] for row in table.rows} == {"–"}
    assert at not in {column for _, column in table.best}
    assert [each.caption for each in blocks(chapter, Picture)] == ["Deletion: lower is better"]
    (summed,) = blocks(rendered("summary", causeless_run), Table)
    assert [row[0] for row in summed.rows] == ["deletion\nlower is better"]


def test_fidelity_of_a_run_without_measures(unmeasured_run, bare_run) -> None:
    chapter = rendered("fidelity", unmeasured_run)
    assert not blocks(chapter, Picture)
    assert "No measure was asked for" in words(chapter)
    (table,) = blocks(chapter, Table)
    assert table.spans == [("", 1), ("What it costs", 6)]
    assert words(rendered("fidelity", bare_run)) == "No explainer was asked for."


# Recommendations, and how to make them again


def test_recommendations_are_those_of_the_first_explainer(tiny_run) -> None:
    table = pl.read_parquet(tiny_run.folder / "explanations/leave_one_out.parquet")
    cards = blocks(rendered("recommendations", tiny_run), Card)
    assert len(cards) == tiny_run.recipe.report.explained == 2
    for row, card in enumerate(cards):
        rows = table.filter(row=row)
        assert card.title == rows["title"][0]
        assert f"Recommended to user {rows['user'][0]} because of" in card.lines[0]
        largest = rows.sort(pl.col("value").abs(), descending=True)
        assert card.bars[0].value == pytest.approx(largest["value"][0], abs=1e-6)
        top = rows.sort("value", descending=True)["feature"][0]
        assert top.split(": ")[-1] in card.lines[0]
        assert sum(bar.value for bar in card.groups) == pytest.approx(rows["value"].sum(), abs=1e-5)


def test_fewer_recommendations_than_asked_for_are_shown(tiny_run) -> None:
    recipe = Recipe.of({**tiny_run.recipe.resolved, "report": {"explained": 99}})
    cards = blocks(rendered("recommendations", Run(recipe, tiny_run.folder)), Card)
    assert len(cards) == tiny_run.recipe.protocol.users


def test_the_recipe_that_is_shown_makes_the_same_run(tiny_run, tmp_path: Path) -> None:
    chapter = rendered("reproduce", tiny_run)
    _, recipe = blocks(chapter, Code)
    (tmp_path / "recipe.yaml").write_text(recipe.text)
    assert Recipe.load(tmp_path / "recipe.yaml").digest() == tiny_run.recipe.digest()
    versions, stages = blocks(chapter, Table)
    assert dict(versions.rows) == artefact(tiny_run, "training.json")["versions"]
    assert [row[0] for row in stages.rows][:3] == ["data", "encode", "train"]
