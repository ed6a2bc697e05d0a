"""Asking a finished run why: an event of the answer explained word by word."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tongues import saved, word_pieces

from xrec import Recipe, run
from xrec.errors import RunError
from xrec.report import card
from xrec.runs.asking import ask
from xrec.runs.run import Run
from xrec_plugins.datasets.planted import PlantedWorld


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose encoder is a tiny language model."""
    world = {"users": 30, "items": 100, "events": 8}
    texts = PlantedWorld(**world).load().items["text"].to_list()
    folder = saved("bert", tmp_path_factory.mktemp("bert"), word_pieces(texts))
    recipe = Recipe.of(
        {
            "name": "read",
            "data": {"dataset": "planted", **world, "history": 4},
            "encoder": {"name": "pretrained", "source": str(folder)},
            "model": {"name": "sequential", "width": 8, "layers": 1},
            "train": {"epochs": 4, "batch": 8, "negatives": 8, "lr": 0.03},
            "explain": ["leave_one_out"],
            "protocol": {"users": 4, "repeats": 1, "batch": 2},
        }
    )
    return run(recipe, tmp_path_factory.mktemp("read"))


def last_event(done: Run, user: str) -> str:
    _, end = done.data.events.span(done.data.users.index(user))
    return done.data.items.ids[int(done.data.events.item[end - 1])]


@pytest.mark.parametrize("explainer", ["leave_one_out", "integrated_gradients"])
def test_an_event_is_explained_by_its_words(
    read: Run, explainer: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(card, "SEEN", 1e-9)  # words matter little to a tiny encoder
    if explainer == "integrated_gradients":
        pytest.importorskip("captum")
    event = last_event(read, "u3")
    title = read.data.titles[read.data.items.index(event)]
    plain = ask(read, "u3", explainer=explainer)
    told = ask(read, "u3", explainer=explainer, event=event)
    assert told.title == plain.title
    assert told.note.split(" with all")[0] == plain.note.split(" with all")[0]  # the same score
    (line,) = [line for line in told.lines if line.startswith("Within ")]
    assert f"Within their past “{title}”, " in line
    named = line.partition("matters most: ")[2]
    text = read.data.texts[read.data.items.index(event)].replace(",", "")
    assert any(f"“{word}”" in named for word in text.split())


def test_where_no_word_matters_that_is_said(read: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(card, "SEEN", 1e6)
    (line,) = [
        line
        for line in ask(read, "u3", event=last_event(read, "u3")).lines
        if line.startswith("Within ")
    ]
    assert line.endswith("no word moves the score by 1000000.0 or more.")


def test_the_command_line_takes_an_event(xrec, read: Run):
    event = last_event(read, "u5")
    code, out, err = xrec("explain", read.folder, "--user", "u5", "--event", event)
    assert code == 0, err
    assert "Within their past" in " ".join(out.split())


def test_an_event_that_never_was(read: Run):
    before = set(read.data.events.item[slice(*read.data.events.span(read.data.users.index("u3")))])
    other = next(
        name
        for at, name in enumerate(read.data.items.ids[1:], start=1)
        if torch.tensor(at) not in before
    )
    with pytest.raises(RunError, match=f"user u3 has no event with item '{other}' among the 4"):
        ask(read, "u3", event=other)
    with pytest.raises(RunError, match="there is no item 'i5000'"):
        ask(read, "u3", event="i5000")


def test_an_encoder_that_reads_no_words_says_so(tiny_run: Run):
    with pytest.raises(RunError, match="its encoder 'hashed' does not read words"):
        ask(tiny_run, "u3", event=last_event(tiny_run, "u3"))


def test_installed_explainers_are_proposed(read: Run):
    with pytest.raises(RunError, match="did you mean 'leave_one_out'"):
        ask(read, "u3", explainer="leave_one_outs")


def test_runs_keep_to_themselves(read: Run, tmp_path: Path):
    assert not list(read.folder.rglob("*.partial"))
