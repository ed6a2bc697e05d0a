"""Sections tell a run's numbers, and get by where a run lacks something."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from xrec import Recipe, run
from xrec.plugins import factory
from xrec.report.page import page
from xrec.report.section import Card, Chapter, Code, Picture, Table, Terms, Text
from xrec.runs.run import Run

SECTIONS = ("summary", "training", "quality", "fidelity", "recommendations", "reproduce")


@pytest.fixture(scope="module")
def planted_run(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose recommendations have planted causes, which those of the tiny run have not."""
    recipe = Path(tiny_run.folder.parents[2] / "tiny.yaml")
    changes = ["data.items=200", "data.events=20", "data.history=20", "protocol.users=10"]
    return run(Recipe.load(recipe, changes), tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def bare_run(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without explainers or measures, its data uncleaned."""
    recipe = Path(tiny_run.folder.parents[2] / "tiny.yaml")
    changes = ["explain=[]", "fidelity=[]", "data.clean=none", "train.epochs=1"]
    return run(Recipe.load(recipe, changes), tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def unmeasured_run(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose explanations are timed but not measured."""
    recipe = Path(tiny_run.folder.parents[2] / "tiny.yaml")
    changes = ["explain=[random]", "fidelity=[]", "train.epochs=1"]
    return run(Recipe.load(recipe, changes), tmp_path_factory.mktemp("unmeasured"))


def rendered(name: str, finished: Run) -> Chapter:
    chapter: Chapter = factory("section", name)().render(finished)
    return chapter


def blocks(chapter: Chapter, kind: type) -> list:
    return [block for block in chapter.blocks if isinstance(block, kind)]


def artefact(finished: Run, name: str):
    return json.loads((finished.folder / name).read_text())


def words(chapter: Chapter) -> str:
    """All that the chapter's paragraphs and terms say."""
    texts = [block.text for block in blocks(chapter, Text)]
    pairs = [f"{term}: {said}" for block in blocks(chapter, Terms) for term, said in block.pairs]
    return " ".join([*texts, *pairs])


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


# The summary's numbers


def test_the_summary_says_what_was_trained_on_what(tiny_run) -> None:
    rows = artefact(tiny_run, "data.json")["rows"]
    said = words(rendered("summary", tiny_run))
    assert f"{rows['interactions']:,} events of {rows['active users']:,} users" in said
    assert f"{rows['items']:,} items (planted data)" in said


def test_the_summary_compares_the_model_with_the_best_baseline(tiny_run) -> None:
    ranking = artefact(tiny_run, "quality.json")["ranking"]
    own = ranking.pop("sequential")["ndcg@10"]["mean"]
    name, best = max(
        ((name, each["ndcg@10"]["mean"]) for name, each in ranking.items()), key=lambda e: e[1]
    )
    said = words(rendered("summary", tiny_run))
    told = re.search(r"ndcg@10 is ([\d.]+), ([\d.]+) times the ([\d.]+) of the best", said)
    assert told, said
    assert float(told[1]) == pytest.approx(own, abs=0.0005)
    assert float(told[2]) == pytest.approx(own / best, abs=0.005)
    assert float(told[3]) == pytest.approx(best, abs=0.0005)
    assert f"best baseline, {name.replace('_', ' ')}" in said


def test_the_summary_counts_hits_from_the_ranks(tiny_run) -> None:
    ranks = pl.read_parquet(tiny_run.folder / "ranks.parquet").filter(model="sequential")["rank"]
    hits = 100 * (ranks <= 10).mean()
    assert f"among its first 10 for {hits:.1f}\N{NO-BREAK SPACE}%" in words(
        rendered("summary", tiny_run)
    )


@pytest.mark.parametrize(
    ("own", "best", "says", "not_says"),
    [
        ((0.3, 0.28, 0.32), (0.1, 0.08, 0.12), "3.00 times", "chance"),
        ((0.1, 0.08, 0.12), (0.2, 0.11, 0.22), "0.50 times", "the baselines lose"),
        ((0.1, 0.08, 0.12), (0.2, 0.11, 0.22), "may be chance", "the baselines lose"),
        ((0.1, 0.08, 0.12), (0.0, 0.0, 0.0), "beside the 0.000", "times"),
    ],
)
def test_the_summary_is_honest_about_the_baseline(tiny_run, tmp_path, own, best, says, not_says):
    def figure(values: tuple[float, float, float]) -> dict[str, dict[str, float]]:
        return {"ndcg@10": dict(zip(("mean", "low", "high"), values, strict=True))}

    copy = Run(tiny_run.recipe, tmp_path)
    for name in ("data.json", *(f"fidelity/{label}.json" for label in tiny_run.explainers())):
        copy.store.write_text(name, (tiny_run.folder / name).read_text())
    for label in tiny_run.explainers():
        copy.store.write_table(
            f"fidelity/{label}.parquet", tiny_run.store.table(f"fidelity/{label}.parquet")
        )
    ranking = {"sequential": figure(own), "ease": figure(best), "popularity": figure((0, 0, 0))}
    copy.store.write_json("quality.json", {"ranking": ranking, "users": 60})
    said = words(rendered("summary", copy))
    assert says in said
    assert not_says not in said
    assert "of users." not in said  # no recall was measured, so that no hits are told


def test_the_summary_names_the_best_explainer_of_each_measure(planted_run) -> None:
    found = {
        label: artefact(planted_run, f"fidelity/{label}.json") for label in planted_run.explainers()
    }
    (table,) = blocks(rendered("summary", planted_run), Table)
    assert len(table.rows) == 3  # deletion, planted precision and planted rank
    for measure, explainer, score, time in table.rows:
        name, way = measure.split("\n")
        name = name.replace(" ", "_")
        sign = 1 if way.startswith("higher") else -1
        means = {label: sign * each["measures"][name]["mean"] for label, each in found.items()}
        best = max(means, key=means.__getitem__)
        assert explainer.split("\n")[0] == f"{best.replace('_', ' ')} (floor)"
        assert float(score.split(" ± ")[0]) == pytest.approx(sign * means[best], abs=0.0005)
        p50 = 1000 * found[best]["latency"]["p50"]
        assert float(time) == pytest.approx(p50, abs=0.5 if p50 >= 10 else 0.05)


def test_the_summary_of_a_run_without_explainers(bare_run, unmeasured_run) -> None:
    assert "No explainer was asked for." in words(rendered("summary", bare_run))
    assert not blocks(rendered("summary", bare_run), Table)
    assert "random; no measure was asked for." in words(rendered("summary", unmeasured_run))


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


def test_training_tells_what_cleaning_found_and_what_not(tiny_run, bare_run, tmp_path) -> None:
    found = artefact(tiny_run, "data.json")
    assert not [each for each in found["found"] if each["found"]]
    chapter = rendered("training", tiny_run)
    assert not blocks(chapter, Table)
    for each in found["found"]:
        assert each["step"] in words(chapter)
    assert "without cleaning" in words(rendered("training", bare_run))

    copy = Run(tiny_run.recipe, tmp_path)
    copy.store.write_text("training.json", (tiny_run.folder / "training.json").read_text())
    found["found"][2] |= {"found": 1234, "example": "u1, i2"}
    copy.store.write_json("data.json", found)
    (table,) = blocks(rendered("training", copy), Table)
    assert table.rows == [(found["found"][2]["step"], "1,234", "dropped", "u1, i2")]
    assert found["found"][2]["step"] not in words(rendered("training", copy))


def test_training_by_a_plugin_that_left_no_figures(tiny_run, tmp_path) -> None:
    copy = Run(tiny_run.recipe, tmp_path)
    copy.store.write_text("data.json", (tiny_run.folder / "data.json").read_text())
    copy.store.write_json("training.json", {**artefact(tiny_run, "training.json"), "epochs": []})
    chapter = rendered("training", copy)
    assert not blocks(chapter, Picture)
    assert "left no figures" in words(chapter)


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


def test_fidelity_of_measures_that_apply_to_no_recommendation(tiny_run) -> None:
    found = artefact(tiny_run, "fidelity/random.json")
    assert found["measures"]["planted_precision"]["mean"] is None  # else this test tests nothing
    chapter = rendered("fidelity", tiny_run)
    assert "planted causes, but these recommendations have none of them" in words(chapter)
    (table,) = blocks(chapter, Table)
    at = [head.replace("\N{NO-BREAK SPACE}", " ") for head in table.head].index(
        "planted precision ↑"
    )
    assert {row[at] for row in table.rows} == {"–"}
    assert at not in {column for _, column in table.best}
    assert [each.caption for each in blocks(chapter, Picture)] == ["Deletion: lower is better"]
    (summed,) = blocks(rendered("summary", tiny_run), Table)
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
