"""The sections on counterfactuals and on layers tell what the run's artefacts say."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
import torch
from chapters import artefact, blocks, rendered, words

from xrec import Recipe, run
from xrec.explain.target import lead
from xrec.report.page import page
from xrec.report.section import Card, Picture, Table, Text
from xrec.report.without import sentence
from xrec.runs import explanations
from xrec.runs.asking import ask
from xrec.runs.decoding import decode
from xrec.runs.run import Run
from xrec_plugins.models.sequential import SequentialRecommender


@pytest.fixture(scope="module")
def choices_run(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that asks twice what would change its recommendations."""
    resolved = {
        **tiny_run.recipe.resolved,
        "explain": [
            {"name": "counterfactual", "k": 3, "label": "first_three"},
            "leave_one_out",
            {"name": "counterfactual", "k": 99},
        ],
        "model": {"name": "sequential", "width": 16, "layers": 2},
        "fidelity": [],
        "protocol": {"users": 12, "repeats": 1, "batch": 2},
    }
    return run(Recipe.of(resolved), tmp_path_factory.mktemp("choices"))


# Counterfactuals


def test_the_sets_that_were_found_change_what_comes_first(choices_run) -> None:
    """Of the artefacts alone: the members are taken away, and the places counted again."""
    rows = pl.read_parquet(choices_run.folder / "removals/first_three.parquet")
    assert rows["inside"].all()
    assert set(rows["slots"].list.len()) > {1}
    inputs = choices_run.subject.inputs
    present = inputs.present.clone()
    for row, slots in enumerate(rows["slots"].to_list()):
        present[row, slots] = False
    with torch.no_grad():
        stays = lead(3)(choices_run.model, inputs.with_present(present)) >= 0
    assert stays.tolist() == [not slots for slots in rows["slots"].to_list()]


def test_counterfactuals_are_summed_up(choices_run) -> None:
    rows = pl.read_parquet(choices_run.folder / "removals/first_three.parquet")
    chapter = rendered("counterfactuals", choices_run)
    (table,) = blocks(chapter, Table)
    three, all_of_them = table.rows
    sizes = rows["slots"].list.len()
    found = rows.filter(sizes > 0)
    assert three == (
        "first three, first 3",
        f"{100 * len(found) / 12:.0f}\N{NO-BREAK SPACE}%",
        f"{found['slots'].list.len().mean():.1f}",
        f"{100 * found['proven'].mean():.0f}\N{NO-BREAK SPACE}%",
        f"{100 * rows.filter((sizes == 0) & pl.col('proven')).height / 12:.0f}\N{NO-BREAK SPACE}%",
        f"{rows['evaluations'].mean():,.0f}",
    )
    # There are fewer items than 99 to be shown, so that nothing can take a place among them.
    assert all_of_them[:2] == ("counterfactual, first 99", "0\N{NO-BREAK SPACE}%")
    assert all_of_them[2:] == ("–", "–", "100\N{NO-BREAK SPACE}%", "0")
    picture = blocks(chapter, Picture)[0]
    for size, count in sizes.value_counts().iter_rows():
        name = f"{size}" if size else "none"
        assert f"{name}: {count}" in picture.words


def test_a_few_counterfactuals_are_told_in_words(choices_run) -> None:
    table, inputs = choices_run.subject.table, choices_run.subject.inputs
    told = explanations.read(choices_run.store, "first_three", inputs)
    lines = [block.text for block in blocks(rendered("counterfactuals", choices_run), Text)][1:]
    assert lines == [
        sentence(told, row, f"user {table['user'][row]}", table["title"][row]) for row in range(2)
    ]
    assert all("among the first 3" in line for line in lines)


def test_recommendations_are_explained_by_what_adds_up_where_there_is_such(choices_run) -> None:
    chapter = rendered("recommendations", choices_run)
    assert "as leave one out says" in words(chapter)
    recipe = Recipe.of({**choices_run.recipe.resolved, "explain": [{"name": "counterfactual"}]})
    alone = Run(recipe, choices_run.folder)
    chapter = rendered("recommendations", alone)
    assert "says counterfactual" not in words(chapter)
    assert "equal share" in words(chapter)
    for card in blocks(chapter, Card):
        assert "because of" not in " ".join(card.lines)


def test_a_counterfactual_can_be_asked_for_and_reads_as_one(choices_run) -> None:
    user = choices_run.subject.table["user"][0]
    shown = ask(choices_run, user, explainer="first_three")
    assert "among the first 3 for user" in shown.lines[0]
    assert "because of" not in shown.lines[0]
    last = choices_run.store.tensors("shortlist.safetensors")["items"][0]
    far = choices_run.data.items.ids[int(last[last > 0][-1])]
    other = ask(choices_run, user, far, "first_three")
    assert re.search(r"would (not )?be among the first 3|No past events", other.lines[0])


# Layers


def test_the_layers_of_a_run_are_those_of_its_model(choices_run) -> None:
    rows = pl.read_parquet(choices_run.folder / "layers.parquet")
    about = choices_run.subject
    table, batch, inputs = about.table, about.batch, about.inputs
    items = torch.cat([batch.candidate[:, None], inputs.rivals], dim=1)
    with torch.no_grad():
        said = torch.stack(choices_run.model.by_layer(inputs, items), dim=1)
        last = choices_run.model.choices(inputs, items)
    assert rows["layer"].to_list() == [0, 1, 2] * 12
    assert rows["user"].unique(maintain_order=True).to_list() == table["user"].to_list()
    firsts = []
    for each in rows.iter_rows(named=True):
        row = table["user"].to_list().index(each["user"])
        scores = said[row, each["layer"]].masked_fill(items[row] == 0, -torch.inf)
        best = items[row, scores.argsort(descending=True)[:3]].tolist()
        assert each["items"] == [choices_run.data.items.ids[item] for item in best]
        assert each["titles"] == [choices_run.data.titles[item] for item in best]
        assert each["rank"] == 1 + int((scores > scores[0]).sum())
        firsts.append(best[0])
    for row, depth in enumerate(rows.filter(layer=0)["depth"].to_list()):
        mine = firsts[3 * row : 3 * row + 3]
        agreed = [at for at in range(3) if set(mine[at:]) == {mine[-1]}]
        assert depth == min(agreed)
    last = last.masked_fill(items == 0, -torch.inf)
    final = rows.filter(layer=2)
    assert final["items"].list.first().to_list() == [
        choices_run.data.items.ids[int(item)]
        for item in items.gather(1, last.argmax(1, keepdim=True))
    ]
    assert (final["rank"] == 1).all()


def test_layers_are_drawn_and_told(choices_run) -> None:
    rows = pl.read_parquet(choices_run.folder / "layers.parquet")
    chapter = rendered("layers", choices_run)
    first, place, depth = blocks(chapter, Picture)
    for layer in range(3):
        mine = rows.filter(layer=layer)
        share = f"{100 * (mine['rank'] == 1).mean():.0f}\N{NO-BREAK SPACE}%"
        assert f"{layer}: {share}" in first.words
        assert f"{layer}: {mine['rank'].median():g}" in place.words
        count = (mine["depth"] == layer).sum()
        assert f"{layer}: {count}" in depth.words
    tables = blocks(chapter, Table)
    assert len(tables) == 2
    for table, (_, mine) in zip(tables, rows.group_by("user", maintain_order=True), strict=False):
        assert [row[0] for row in table.rows] == ["before any", "1", "2"]
        assert [list(row[1:4]) for row in table.rows] == mine["titles"].to_list()
        assert [row[4] for row in table.rows] == [f"{rank:,}" for rank in mine["rank"]]
        assert table.caption == f"User {mine['user'][0]}: recommended is {mine['title'][0]}"
    told = artefact(choices_run, "layers.json")
    assert told["layers"] == 2
    assert f"after the last of 2 for {100 * (rows.filter(layer=0)['depth'] == 2).mean():.0f}" in (
        words(chapter)
    )


def test_both_are_in_the_report_and_share_no_names(choices_run) -> None:
    html = (choices_run.folder / "report.html").read_text()
    for name in ("counterfactuals", "layers"):
        assert f">{rendered(name, choices_run).title}</h2>" in html
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_a_model_without_layers_is_skipped_with_a_sentence(
    choices_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    bare = Run(choices_run.recipe, tmp_path, said.append)
    bare.__dict__["trained"] = choices_run.model
    monkeypatch.setattr(SequentialRecommender, "layers_read", ())
    decode(bare)
    assert said == [
        "  the model SequentialRecommender has no layers to look into: what it would recommend "
        "after each is left out"
    ]
    assert not (tmp_path / "layers.parquet").exists()
    chapter = rendered("layers", bare)
    assert not chapter.blocks
    assert chapter.title not in page("a run", [chapter])


def test_a_run_without_counterfactuals_says_nothing_of_them(tiny_run) -> None:
    chapter = rendered("counterfactuals", tiny_run)
    assert not chapter.blocks
    assert chapter.title not in (tiny_run.folder / "report.html").read_text()
