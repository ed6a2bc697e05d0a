"""Chains of compression: what a step reports, what ends one, and the model built again."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from xrec import Recipe, run
from xrec.compress.chain import QUALITY, rebuilt, take
from xrec.compress.slopes import agreement
from xrec.compress.state import flat, load, size
from xrec.errors import RunError, XrecError
from xrec.explain.target import logit
from xrec.export.export import export
from xrec.export.export import load as load_export
from xrec.runs.run import Run
from xrec_plugins.explainers.saliency import Saliency


def nothing(text: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Halved:
    """Weights in steps, and one layer less."""

    step: float = 0.01
    layers: int = 1

    def compress(self, model, data, tell):
        for parameter in model.parameters():
            parameter.data = (parameter.data / self.step).round() * self.step
        return self.shaped(model, {"layers": self.layers})

    def form(self, model):
        return {"layers": len(model.layers)}

    def shaped(self, model, form):
        model.layers = model.layers[: form["layers"]]
        return model


@dataclass(frozen=True)
class Ruined:
    """Noise in place of weights."""

    def compress(self, model, data, tell):
        for parameter in model.parameters():
            parameter.data = torch.randn_like(parameter)
        return model


class Flipped(torch.autograd.Function):
    """Values as they are, through which the gradient goes with the wrong sign."""

    @staticmethod
    def forward(ctx, values):
        return values

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Crooked(nn.Module):
    """A module whose gradient is wrong."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, hidden, *rest):
        return self.layer(Flipped.apply(hidden), *rest)


@dataclass(frozen=True)
class Bent:
    """A compressor that spoils gradients, and nothing else."""

    def compress(self, model, data, tell):
        model.norm = Crooked(model.norm)
        return model


def test_a_step_reports_both_models_and_leaves_the_one_before(tiny_run) -> None:
    model = tiny_run.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = take(Halved(layers=0), model, tiny_run.data, nothing)
    for name, tensor in model.state_dict().items():
        assert tensor.equal(before[name])
    assert found.form == {"layers": 0}
    for told, each in ((found.before, model), (found.after, found.model)):
        assert told["parameters"] == sum(p.numel() for p in each.parameters())
        buffers = sum(b.nbytes for b in each.buffers())
        assert told["bytes"] == sum(p.nbytes for p in each.parameters()) + buffers
        assert 0 <= told[QUALITY] <= 1
        assert told["seconds"] > 0
    assert found.drop == pytest.approx(1 - found.after[QUALITY] / found.before[QUALITY])


def test_what_a_step_reports_of_quality_is_what_lightning_measures(tiny_run) -> None:
    found = take(Halved(), tiny_run.model, tiny_run.data, nothing)
    best = max(tiny_run.store.json("training.json")["epochs"], key=lambda each: each["val_ndcg@10"])
    assert found.before[QUALITY] == pytest.approx(best["val_ndcg@10"], abs=1e-6)


def test_a_chain_is_built_again_from_its_state(tiny_run) -> None:
    found = take(Halved(layers=0), tiny_run.model, tiny_run.data, nothing)
    steps = [(Halved(layers=0), found.told())]
    again = rebuilt(tiny_run.fresh_model(), steps, flat(found.model), "here")
    batch = tiny_run.data.queries("test")
    assert again.catalogue(batch).equal(found.model.catalogue(batch))


def test_true_gradients_are_found_true_by_differences_and_wrong_ones_wrong(tiny_run) -> None:
    true = take(Halved(), tiny_run.model, tiny_run.data, nothing)
    assert true.gradients.by == "differences"
    assert true.gradients.cosine > 0.999
    assert true.model.slope.trusted
    wrong = take(Bent(), tiny_run.model, tiny_run.data, nothing)
    assert not wrong.model.slope.trusted
    batch = tiny_run.data.queries("test")
    with pytest.raises(XrecError, match=r"gradients are not true .* kernel_shap or leave_one"):
        Saliency().explain(wrong.model, wrong.model.embed(batch), logit)


def test_gradients_are_compared_with_a_twins(tiny_run) -> None:
    model = tiny_run.model
    inputs = tiny_run.inputs(tiny_run.data.queries("test"))
    same = agreement(model, copy.deepcopy(model), inputs)
    assert (same.by, round(same.cosine, 6), round(same.norm, 6)) == ("twin", 1, 1)
    bent = Bent().compress(copy.deepcopy(model), tiny_run.data, nothing)
    assert not agreement(bent, model, inputs).holds


def test_a_state_that_does_not_fit_names_what(tiny_run) -> None:
    model = tiny_run.fresh_model()
    state = {name: tensor.clone() for name, tensor in flat(model).items()}
    with pytest.raises(RunError, match=r"^here does not fit its model: query is torch.float32"):
        load(model, {**state, "query": state["query"][:3]}, "here")
    with pytest.raises(RunError, match=r"^here does not fit its model: more is in one"):
        load(model, {**state, "more": state["query"]}, "here")
    assert size(model)["parameters"] == sum(p.numel() for p in model.parameters())


def offered(monkeypatch: pytest.MonkeyPatch, **factories: type) -> None:
    """Let these be installed as compressors."""
    from xrec import plugins

    real = plugins.factory

    def factory(kind, name):
        return factories[name] if kind == "compressor" and name in factories else real(kind, name)

    monkeypatch.setattr(plugins, "factory", factory)


def chained(recipe: Path, folder: Path, *steps, told: list[str] | None = None, **rest) -> Run:
    given = {**Recipe.load(recipe).resolved, "compress": list(steps), **rest}
    return run(Recipe.of(given), folder, tell=(told if told is not None else []).append)


def test_a_run_compresses_by_its_chain_and_resumes(tiny_recipe, tmp_path, monkeypatch) -> None:
    offered(monkeypatch, halved=Halved, ruined=Ruined)
    told: list[str] = []
    steps = [{"name": "halved", "layers": 0, "max_quality_drop": 1}, {"name": "halved"}]
    done = chained(tiny_recipe, tmp_path, *steps, told=told)
    first, second = (done.store.json(f"{name}.json") for name in done.steps)
    assert done.steps == ["compressed/1-halved", "compressed/2-halved"]
    assert first["after"]["parameters"] < first["before"]["parameters"]
    assert second["before"]["parameters"] == first["after"]["parameters"]
    assert len(done.model.layers) == 0
    assert len(done.trained.layers) == 1
    batch = done.data.queries("test")
    opened = Run.open(done.folder)
    assert opened.model.catalogue(batch).equal(done.model.catalogue(batch))
    again: list[str] = []
    chained(tiny_recipe, tmp_path, *steps, told=again)
    assert all(line.endswith("done before") for line in again)


def test_a_step_that_takes_too_much_ends_the_chain(tiny_recipe, tmp_path, monkeypatch) -> None:
    offered(monkeypatch, halved=Halved, ruined=Ruined)
    told: list[str] = []
    bound = {"max_quality_drop": 1}
    steps = [{"name": "halved", **bound}, {"name": "ruined", "max_quality_drop": 0}, "halved"]
    done = chained(tiny_recipe, tmp_path, *steps, told=told, seed=3)
    kept, ruined, left = (done.store.json(f"{name}.json") for name in done.steps)
    assert (kept["taken"], ruined["taken"], left["taken"]) == (True, False, False)
    assert "more than max_quality_drop 0.0%: the chain ends, and the model before it" in "".join(
        told
    )
    assert left["said"] == "not taken, as the chain ended at 2-ruined"
    assert flat(done.model).keys() == flat(done.compressed(1)).keys()
    assert not (done.folder / "compressed/2-ruined.safetensors").exists()
    assert done.store.json("quality.json")["ranking"]["sequential"]


def test_a_compressed_model_is_exported(tiny_recipe, tmp_path, monkeypatch) -> None:
    offered(monkeypatch, halved=Halved)
    step = {"name": "halved", "layers": 0, "max_quality_drop": 1}
    done = chained(tiny_recipe, tmp_path, step)
    folder, checked = export(done, "safetensors")
    assert checked.difference == 0
    assert not (folder / "weights.safetensors").exists()
    batch = done.data.queries("test")
    assert load_export(folder)["score"](batch).equal(done.model(batch).detach())


REAL = {
    "structured_pruning": {"width": 0.5, "epochs": 0},
    "low_rank": {"ratio": 0.5, "epochs": 0},
    "quantise": {"to": "int8"},
    "onnx": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_what_compressors_make_is_exported(tiny_recipe, tmp_path, name: str) -> None:
    """Every form fits safetensors; graphs hold what can be said without the runtime of another."""
    pytest.importorskip("onnxruntime")
    done = chained(tiny_recipe, tmp_path, {"name": name, "max_quality_drop": 1, **REAL[name]})
    batch = done.data.queries("validate")
    with torch.no_grad():
        said = done.model(batch)
    folder, checked = export(done, "safetensors")
    assert checked.difference == 0
    assert load_export(folder)["score"](batch).equal(said)
    if name == "onnx":
        with pytest.raises(RunError, match=r"graphs of ONNX Runtime already.* safetensors"):
            export(done, "onnx")
        return
    folder, checked = export(done, "onnx")
    assert checked.difference <= checked.tolerance
    torch.testing.assert_close(load_export(folder)["score"](batch), said, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_rounded_activations_are_no_graph(tiny_recipe, tmp_path) -> None:
    step = {"name": "quantise", "to": "int8_dynamic", "max_quality_drop": 1}
    done = chained(tiny_recipe, tmp_path, step)
    with pytest.raises(RunError, match=r"cannot be said in ONNX .* choose --format safetensors"):
        export(done, "onnx")
    assert not (done.folder / "export" / "onnx").exists()
    batch = done.data.queries("test")
    said = load_export(export(done, "safetensors")[0])["score"](batch)
    assert said.equal(done.model(batch).detach())


def test_a_run_that_is_not_finished_has_no_model(tiny_recipe, tmp_path, monkeypatch) -> None:
    offered(monkeypatch, halved=Halved)
    done = chained(tiny_recipe, tmp_path, {"name": "halved", "max_quality_drop": 1})
    (done.folder / "compressed/1-halved.json").unlink()
    with pytest.raises(RunError, match=r"has no compressed/1-halved.json: finish it"):
        assert Run.open(done.folder).model


def test_runs_of_one_model_train_it_once(tiny_recipe, tmp_path, monkeypatch) -> None:
    offered(monkeypatch, halved=Halved)
    plain, told = chained(tiny_recipe, tmp_path), []
    step = {"name": "halved", "max_quality_drop": 1}
    smaller = chained(tiny_recipe, tmp_path, step, told=told)
    assert f"train: as in {plain.folder}" in told
    assert flat(smaller.trained)["query"].equal(flat(plain.model)["query"])
    assert smaller.store.writes("train") == plain.store.writes("train")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            {"name": "halved", "max_quality_drop": 2},
            r"^compress\[0\].max_quality_drop: '2' must",
        ),
        ({"name": "halved", "stp": 2}, r"^compress\[0\].stp: there is no such key; did you mean"),
        ("halvd", "unknown compressor 'halvd'"),
    ],
)
def test_a_bad_step_is_named(tiny_recipe, tmp_path, monkeypatch, step, words: str) -> None:
    offered(monkeypatch, halved=Halved)
    with pytest.raises(XrecError, match=words):
        chained(tiny_recipe, tmp_path, step)
    assert not list(tmp_path.glob("tiny"))
