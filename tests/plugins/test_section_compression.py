"""The section on compression tells what each step did, why one was not taken, and of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from chapters import artefact, blocks, rendered, words

from xrec import Recipe, plugins, run
from xrec.compress.chain import QUALITY
from xrec.report.section import Table, Text
from xrec.runs.run import Run


@dataclass(frozen=True)
class Shorter:
    """A layer less."""

    def compress(self, model, data, tell):
        return self.shaped(model, {})

    def form(self, model):
        return {}

    def shaped(self, model, form):
        model.layers = model.layers[:-1]
        return model


@dataclass(frozen=True)
class Ruined:
    """Noise in place of weights."""

    def compress(self, model, data, tell):
        for parameter in model.parameters():
            parameter.data = torch.randn_like(parameter)
        return model


@pytest.fixture
def compressed_run(tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose second step takes too much, so that a third is not tried."""
    offered = {"shorter": Shorter, "ruined": Ruined}
    real = plugins.factory

    def factory(kind, name):
        return offered[name] if kind == "compressor" else real(kind, name)

    monkeypatch.setattr(plugins, "factory", factory)
    steps = [
        {"name": "shorter", "max_quality_drop": 1},
        {"name": "ruined", "max_quality_drop": 0},
        "shorter",
    ]
    given = {**Recipe.load(tiny_recipe).resolved, "compress": steps, "seed": 3}
    return run(Recipe.of(given), tmp_path)


def test_each_step_is_told_with_what_was_before_and_after(compressed_run: Run) -> None:
    first, second = (artefact(compressed_run, f"{name}.json") for name in compressed_run.steps[:2])
    chapter = rendered("compression", compressed_run)
    (table,) = blocks(chapter, Table)
    assert [row[0] for row in table.rows] == ["1. shorter", "2. ruined"]
    assert table.marks == {"2. ruined": "not taken"}
    for row, found in zip(table.rows, (first, second), strict=True):
        told = [[float(part.replace(",", "")) for part in cell.split(" → ")] for cell in row[1:]]
        ends = [found["before"], found["after"]]
        assert told[0] == [each["parameters"] for each in ends]
        assert told[1] == pytest.approx([each["bytes"] / 1e6 for each in ends], abs=0.006)
        assert told[2] == pytest.approx([1e3 * each["seconds"] for each in ends], rel=0.01)
        assert told[3] == pytest.approx([each[QUALITY] for each in ends], abs=1e-4)
    ratio = first["before"]["bytes"] / first["after"]["bytes"]
    assert f"of the compressed model: {ratio:.2f} × smaller than as trained" in words(chapter)


def test_a_step_that_was_not_taken_says_why(compressed_run: Run) -> None:
    said = [block.text for block in blocks(rendered("compression", compressed_run), Text)]
    assert any(
        each.startswith("2. ruined: ruined takes ")
        and each.endswith("more than max_quality_drop 0.0%: the chain ends, and the model before "
                          "it is kept.")
        for each in said
    )  # fmt: skip
    assert "3. shorter: not taken, as the chain ended at 2-ruined." in said


def test_the_gradients_of_the_model_that_was_kept_are_told_of(compressed_run: Run) -> None:
    said = words(rendered("compression", compressed_run))
    assert "The compressed model's input gradients are true: their cosine with differences" in said
    name = f"{compressed_run.steps[0]}.json"
    found = artefact(compressed_run, name)
    found["gradients"] |= {"cosine": 0.14, "by": "twin"}
    compressed_run.store.write_json(name, found)
    said = words(rendered("compression", compressed_run))
    assert "The compressed model's input gradients are not true (of " in said
    assert "cosine 0.14 with those of the same weights in float32" in said
    found["gradients"] |= {"cosine": 0.999, "norm": 1.0}
    compressed_run.store.write_json(name, found | {"straight_through": True})
    assert "Gradients are straight-through" in words(rendered("compression", compressed_run))


def test_where_no_step_was_taken_there_are_no_gradients_to_tell_of(compressed_run: Run) -> None:
    name = f"{compressed_run.steps[0]}.json"
    compressed_run.store.write_json(name, {**artefact(compressed_run, name), "taken": False})
    said = words(rendered("compression", compressed_run))
    assert "No step of compression was taken" in said
    assert "gradients" not in said


def test_the_section_is_in_the_report_where_there_is_a_chain(compressed_run: Run, tiny_run) -> None:
    chapter = rendered("compression", compressed_run)
    assert f">{chapter.title}</h2>" in (compressed_run.folder / "report.html").read_text()
    assert not rendered("compression", tiny_run).blocks
    assert chapter.title not in (tiny_run.folder / "report.html").read_text()
