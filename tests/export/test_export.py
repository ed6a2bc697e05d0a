"""An export scores as the model does, says what it takes, and is refused where it does not."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

from xrec import Inputs, Recipe, Recommender, run
from xrec.data.batches import Batch
from xrec.errors import PluginError, RunError
from xrec.export import export as exporting
from xrec.export import pt2
from xrec.export.export import FORMATS, MANIFEST, VOCABULARY, export, load
from xrec.export.graph import CATALOGUE, SCORE, Graph, graphs
from xrec.runs.run import Run
from xrec.testing import small_model

SEVERAL = "tasks: [click, {name: liked, target: value}]\n"


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory: pytest.TempPathFactory):
    """The folder of the tiny run's export in a format, made once."""
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            if kind == "onnx":
                pytest.importorskip("onnxruntime")
                pytest.importorskip("onnxscript")
            made[kind], checked = export(tiny_run, kind, tmp_path_factory.mktemp("out") / kind)
            assert checked.difference <= checked.tolerance == 1e-4
            assert checked.sizes == (1, 2, 7, checked.rows)
        return made[kind]

    return of


@pytest.mark.parametrize("kind", FORMATS)
def test_scores_as_the_model_does(tiny_run, exported, kind: str) -> None:
    """Other queries than those that the export itself compared, and other numbers of them."""
    loaded, model = load(exported(kind)), tiny_run.model
    batch = tiny_run.data.queries("validate")
    batch = batch.about(batch.candidate.flip(0))
    for rows in (slice(0, 1), slice(3, 8), slice(None)):
        some = batch.rows(rows)
        with torch.no_grad():
            torch.testing.assert_close(loaded[SCORE](some), model(some), rtol=0, atol=1e-4)
            whole = model.catalogue(some)
        torch.testing.assert_close(loaded[CATALOGUE](some), whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", FORMATS)
def test_says_what_it_takes(tiny_run, exported, kind: str) -> None:
    folder = exported(kind)
    told = json.loads((folder / MANIFEST).read_text())
    score, catalogue = told["graphs"]
    assert score["inputs"] == {
        "history": {"dtype": "int64", "shape": ["rows", 8]},
        "profile": {"dtype": "int64", "shape": ["rows", tiny_run.data.profile.values.shape[1]]},
        "candidate": {"dtype": "int64", "shape": ["rows"]},
    }
    assert list(catalogue["inputs"]) == ["history", "profile"]
    assert catalogue["output"]["shape"] == ["rows", len(tiny_run.data.items)]
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert set(told["files"]) == names - {MANIFEST}
    words = json.loads((folder / VOCABULARY).read_text())
    assert words["items"] == tiny_run.data.items.ids
    assert words["profile"] == list(tiny_run.data.profile.names)


def test_onnx_runs_without_xrec(tiny_run, exported) -> None:
    """A server has a history by item ids, and no more than the export's folder."""
    folder = exported("onnx")
    import onnxruntime

    told = json.loads((folder / MANIFEST).read_text())
    words = json.loads((folder / VOCABULARY).read_text())
    session = onnxruntime.InferenceSession(folder / "catalogue.onnx")
    takes = {each.name: each for each in session.get_inputs()}
    assert {name: each.type for name, each in takes.items()} == dict.fromkeys(
        told["graphs"][1]["inputs"], "tensor(int64)"
    )
    data, user = tiny_run.data, tiny_run.data.users.ids[5]
    begin, end = data.events.span(5)
    known = [data.items.ids[item] for item in data.events.item[begin:end].tolist()]
    length = told["graphs"][1]["inputs"]["history"]["shape"][1]
    history = [words["items"].index(item) for item in known][-length:]
    profile = data.profile.values[data.users.index(user)]
    given = {
        "history": np.array([[0] * (length - len(history)) + history]),
        "profile": profile[None].numpy(),
    }
    (scores,) = session.run(["catalogue"], given)
    blank = data.latest(torch.tensor([5]), torch.tensor([0]))
    items, _ = tiny_run.recommend(blank, torch.zeros(scores.shape, dtype=torch.bool), 5)
    assert (1 + np.argsort(-scores[0, 1:], kind="stable")[:5]).tolist() == items[0].tolist()


def test_the_safetensors_are_a_run_without_its_people(tiny_run, exported) -> None:
    folder = exported("safetensors")
    again = Run.open(folder)
    assert again.data.profile.names == tiny_run.data.profile.names
    assert again.data.items.ids == tiny_run.data.items.ids
    assert again.data.actions.ids == tiny_run.data.actions.ids
    assert not set(again.data.users.ids[1:]) & set(tiny_run.data.users.ids)
    assert "explain" not in again.recipe.resolved
    for path in folder.rglob("*"):
        assert path.suffix in ("", ".parquet", ".json", ".yaml", ".safetensors")


@pytest.mark.parametrize("kind", ["pt2", "safetensors"])
def test_several_tasks_are_exported_by_the_first(tmp_path: Path, kind: str) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY + SEVERAL)
    recipe = Recipe.load(tmp_path / "tiny.yaml", ["train.epochs=1", "explain=[]", "fidelity=[]"])
    made = run(recipe, tmp_path / "runs")
    folder, _ = export(made, kind)
    assert folder == made.folder / "export" / kind
    batch = made.data.queries("test")
    with torch.no_grad():
        inputs = made.model.embed(batch)
        first, second = (made.model.score(inputs, task) for task in (0, 1))
    torch.testing.assert_close(load(folder)[SCORE](batch), first, rtol=0, atol=1e-4)
    assert not torch.allclose(first, second)
    said: list[str] = []
    run(recipe, tmp_path / "runs", said.append)
    assert all(line.endswith("done before") for line in said)  # an export undoes no stage


class Timely(Recommender):
    """Scores an event by how long ago it was; who it is of, and the profile, do not matter."""

    def embed(self, batch: Batch) -> Inputs:
        _, inputs = small_model()
        age = batch.history_time.float()[..., None]
        return Inputs(age, batch.history > 0, inputs.features)

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        return (inputs.values[..., 0] * inputs.present).sum(1)


def test_only_what_an_answer_follows_is_an_input() -> None:
    model, _ = small_model()
    timely, batch = Timely(model.data_module), model.data_module.queries("test")
    (score,) = graphs(timely, batch)  # it scores one item at a time: it has no faster catalogue
    assert score == Graph(SCORE, ("history", "history_time", "candidate"))


class Personal(Timely):
    """Its catalogue is looked up by who the user is."""

    def catalogue(self, batch: Batch) -> Tensor:
        return batch.user[:, None].float() * torch.ones(len(self.data_module.items))


def test_a_catalogue_that_follows_who_the_user_is_stays_behind() -> None:
    model, _ = small_model()
    batch = model.data_module.queries("test")
    assert [graph.name for graph in graphs(model, batch)] == [SCORE, CATALOGUE]
    assert [graph.name for graph in graphs(Personal(model.data_module), batch)] == [SCORE]


def test_a_model_that_reads_words_is_exported_as_safetensors(tmp_path: Path) -> None:
    """Its own weights are in the export; those of a frozen language model come from its files."""
    from tongues import bytes_of, saved

    given = {
        "name": "words",
        "data": {"dataset": "planted", "users": 20, "items": 100, "events": 5, "history": 3},
        "encoder": {"source": str(saved("bert", tmp_path / "bert", bytes_of("<s>")))},
        "model": {"name": "cross_encoder", "tokens": 64, "item_tokens": 9, "candidates": 4},
        "train": {"epochs": 1, "negatives": 4},
        "report": {"sections": []},
    }
    given["encoder"] |= {"name": "pretrained", "tune": "lora"}
    made = run(Recipe.of(given), tmp_path / "runs")
    folder, checked = export(made, "safetensors")
    assert checked.difference == 0
    batch = made.data.queries("test")
    with torch.no_grad():
        assert load(folder)[SCORE](batch).equal(made.model(batch))


# Refusing


def wrong(monkeypatch: pytest.MonkeyPatch, change) -> None:
    """Let what is loaded again of an export differ from what was written."""
    read = pt2.read

    def broken(folder: Path, graph: Graph):
        score = read(folder, graph)
        return lambda batch: change(score(batch))

    monkeypatch.setattr(pt2, "read", broken)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda logits: logits + 3e-4, "score of 1 rows differs from the model's by 0.0003, more"),
        (lambda logits: logits * torch.nan, "score of 1 rows differs from the model's by nan"),
        (lambda logits: logits[..., None], r"has the shape \(1, 1\), and the model's \(1,\)"),
    ],
)
def test_an_export_that_scores_otherwise_is_not_kept(
    tiny_run, tmp_path: Path, monkeypatch, exported, change, sentence: str
) -> None:
    shutil.copytree(exported("pt2"), tmp_path / "model")
    before = (tmp_path / "model" / MANIFEST).read_text()
    written = {p.name: p.read_bytes() for p in exported("pt2").glob("*.pt2")}

    def write(run, graphs, batch, folder: Path) -> None:
        for name, content in written.items():
            (folder / name).write_bytes(content)

    monkeypatch.setattr(pt2, "write", write)
    wrong(monkeypatch, change)
    for folder in (tmp_path / "model", tmp_path / "new"):
        with pytest.raises(RunError, match="^nothing was exported: the .*" + sentence):
            export(tiny_run, "pt2", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / MANIFEST).read_text() == before  # the older one is still there


def test_a_damaged_export_is_refused(exported, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported("safetensors"), folder)
    assert set(load(folder)) == {SCORE, CATALOGUE}
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    with pytest.raises(RunError, match=r"export .*: weights.safetensors is not as it was checked"):
        load(folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(RunError, match=r"is no export: it has no export.json"):
        load(folder)


def test_an_older_export_is_replaced_and_nothing_else_is(tiny_run, exported, tmp_path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported("pt2"), folder)
    left = tmp_path / ".model.1.unchecked"
    left.mkdir()
    export(tiny_run, "safetensors", folder)
    assert json.loads((folder / MANIFEST).read_text())["format"] == "safetensors"
    assert not list(folder.glob("*.pt2"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="mine is there already, and is no export: name another"):
        export(tiny_run, "safetensors", tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


class Undecided(nn.Module):
    """What it computes follows the values it is given: no graph says that."""

    def forward(self, *given: Tensor) -> Tensor:
        return given[0].sum(1) if given[0].sum() > 3 else given[0].float().mean(1)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("pt2", r"^torch.export cannot trace the model SequentialRecommender \(.*\): choose"),
        ("onnx", r"^the model SequentialRecommender cannot be said in ONNX \(.*\): choose"),
    ],
)
def test_a_model_that_is_no_graph(tiny_run, tmp_path, monkeypatch, kind, sentence) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxscript")
    monkeypatch.setattr(Graph, "module", lambda graph, model, batch: Undecided())
    with pytest.raises(RunError, match=sentence) as told:
        export(tiny_run, kind, tmp_path / "model")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_extra(tiny_run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "xrec.export.onnx", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    sentence = "needs the package onnxruntime: pip install 'xrec[onnx]'"
    with pytest.raises(PluginError) as told:
        export(tiny_run, "onnx", tmp_path / "model")
    assert str(told.value) == f"xrec export --format onnx {sentence}"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("onx", "there is no format 'onx': did you mean 'onnx'?"),
        (
            "torchscript",
            "torchscript is out of use: torch deprecates it, and its files are pickles",
        ),
    ],
)
def test_formats_that_are_none(xrec, tiny_run, kind: str, sentence: str) -> None:
    code, _, err = xrec("export", tiny_run.folder, "--format", kind)
    assert code == 2
    assert err.startswith(f"xrec: {sentence}")
    assert err.count("\n") == 1


def test_runs_that_have_no_model(xrec, tiny_run, tmp_path: Path) -> None:
    code, _, err = xrec("export", tmp_path, "--format", "pt2")
    assert (code, "is not a run" in err) == (2, True)
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    (tmp_path / "run" / "weights.safetensors").unlink()
    code, _, err = xrec("export", tmp_path / "run", "--format", "pt2")
    assert code == 2
    assert err.endswith("has no weights.safetensors: finish it with 'xrec run' first\n")
    assert not (tmp_path / "run" / "export").exists()


def test_the_command_says_how_far_it_differs(xrec, tiny_run, tmp_path: Path) -> None:
    code, out, err = xrec(
        "export", tiny_run.folder, "--format", "safetensors", "--out", tmp_path / "model"
    )
    assert code == 0, err
    count = len(exporting.sample(tiny_run.data))
    assert out == (
        f"checked: {count} queries differ by 0.0e+00 at most\nexport: {tmp_path / 'model'}\n"
    )
