"""An encoder trained further on the catalogue's texts: what is held out, kept, told and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import TINY
from safetensors.torch import load_file
from tongues import bytes_of, saved, with_head, word_pieces
from transformers import PreTrainedTokenizerFast

from xrec import Recipe, run
from xrec.errors import RecipeError, RunError, TrainingError, XrecError
from xrec.export.export import export, load
from xrec.models.language import LanguageModel
from xrec.models.masking import Guesser
from xrec.options import PretrainOptions
from xrec.runs import pretraining
from xrec.runs.pretraining import Course, split
from xrec.runs.run import Run
from xrec_plugins.datasets.planted import PlantedWorld
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.sections.training import Training


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """It knows the planted world's words."""
    return word_pieces(PlantedWorld(users=60, items=100).load().items["text"].to_list())


@pytest.fixture(scope="module")
def headless(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Path:
    return saved("bert", tmp_path_factory.mktemp("headless"), tokenizer)


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Path:
    return with_head("bert", tmp_path_factory.mktemp("headed"), tokenizer)


def recipe_of(folder: Path, source: Path, *changes: str) -> Recipe:
    told = [
        "pretrain={name: mlm, epochs: 3, lr: 0.01, batch: 16}",
        "explain=[]",
        "fidelity=[]",
        "train.epochs=1",
    ]
    return Recipe.load(_written(folder, source), [*told, *changes])


def _written(folder: Path, source: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(
        TINY.replace("{name: hashed, size: 16}", f"{{name: pretrained, source: '{source}'}}")
    )
    return path


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory, headless: Path) -> Run:
    """A run whose encoder was trained further, from files without a head."""
    folder = tmp_path_factory.mktemp("adapted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "HEAD_EPOCHS", 2)
        return run(recipe_of(folder, headless), folder / "runs")


def artefact(finished: Run, name: str):
    return json.loads((finished.folder / name).read_text())


# What comes of it


def test_the_adapted_encoder_is_a_model_s_folder(adapted: Run, headless: Path):
    folder = adapted.folder / "encoder"
    for path in headless.iterdir():
        kept = folder / path.name
        assert kept.is_file()
        assert (kept.read_bytes() == path.read_bytes()) == (path.suffix != ".safetensors")
    before, after = (load_file(each / "model.safetensors") for each in (headless, folder))
    assert before.keys() == after.keys()
    moved = {name for name in before if not before[name].equal(after[name])}
    assert {name for name in before if "layer" in name or "word" in name} <= moved
    record = adapted.store.record("pretrain")
    assert record is not None
    assert {f"encoder/{path.name}" for path in headless.iterdir()} < set(record["writes"])
    assert "pretrain.json" in record["writes"]


def test_later_stages_read_with_the_adapted_weights(adapted: Run, headless: Path):
    texts = adapted.data.texts
    ours = Pretrained(source=str(adapted.folder / "encoder"))
    assert adapted.texts.equal(ours.encode(texts))
    assert not torch.allclose(adapted.texts, Pretrained(source=str(headless)).encode(texts))
    assert adapted.encoder == ours
    state = adapted.encoder.language().transformer.state_dict()
    kept = load_file(adapted.folder / "encoder" / "model.safetensors")
    assert all(state[name].equal(value) for name, value in kept.items())
    for stage in ("encode", "train", "quality"):
        assert "encoder/model.safetensors" in adapted.store.record(stage)["reads"]


def test_an_export_takes_the_adapted_encoder_along(adapted: Run, tmp_path: Path):
    folder, checked = export(adapted, "safetensors", tmp_path / "out")
    assert checked.difference <= checked.tolerance
    opened = Run.open(folder)
    assert opened.encoder.digest() == adapted.encoder.digest()
    (folder / "encoder" / "tokenizer.json").write_text("{}")
    with pytest.raises(RunError, match="is not as it was checked"):
        load(folder)


def test_a_run_whose_encoder_is_gone_says_so(adapted: Run, tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text((adapted.folder / "recipe.yaml").read_text())
    with pytest.raises(RunError, match=r"has no encoder/model\.safetensors"):
        Run.open(tmp_path).encoder  # noqa: B018


def test_a_run_that_does_not_pretrain_reads_as_before(tiny_run):
    assert tiny_run.encoder is tiny_run.made["encoder"][0]
    assert tiny_run.store.record("pretrain") is None


def test_perplexity_is_told_before_and_after(adapted: Run):
    found = artefact(adapted, "pretrain.json")
    assert 1 < found["perplexity"]["after"] < found["perplexity"]["before"]
    assert found["head"]["fitted_first"]["epochs"] == 2
    assert len(found["head"]["fitted_first"]["loss"]) == 2
    assert len(found["loss"]) == 3
    assert found["loss"][0] > found["loss"][-1]
    (text,) = [
        b.text for b in Training().render(adapted).blocks if "perplexity" in vars(b).get("text", "")
    ]
    assert f"through {found['texts']['trained_on']} texts" in text
    assert f"On {found['texts']['held_out']} other texts" in text
    before, after = (found["perplexity"][when] for when in ("before", "after"))
    assert f"fell from {before:,.1f} to {after:,.1f}" in text
    assert "no head for guessing tokens, so one was fitted first, 2 times" in text
    assert "perplexity" in (adapted.folder / "report.html").read_text()


def test_the_same_recipe_gives_the_same_encoder(
    adapted: Run, headless: Path, tmp_path, monkeypatch
):
    monkeypatch.setattr(pretraining, "HEAD_EPOCHS", 2)
    again = run(recipe_of(tmp_path, headless), tmp_path / "runs")
    assert artefact(again, "pretrain.json") == artefact(adapted, "pretrain.json")
    assert again.texts.equal(adapted.texts)

    said: list[str] = []
    name = again.folder / "encoder" / "model.safetensors"
    whole = name.read_bytes()
    name.write_bytes(whole[:-4] + b"\0\0\0\1")
    run(again.recipe, tmp_path / "runs", said.append)
    assert "data: done before" in said
    assert "pretrain …" in said
    assert "encode: done before" in said
    assert name.read_bytes() == whole


class Killed(Exception):
    pass


def test_a_killed_try_is_gone_on_with(adapted: Run, headless: Path, tmp_path, monkeypatch):
    """In the head's fit and in that of all, to the same encoder and the same figures."""
    monkeypatch.setattr(pretraining, "HEAD_EPOCHS", 2)
    recipe, out, said = recipe_of(tmp_path, headless), tmp_path / "runs", []
    whole, epochs = Course.on_train_epoch_end, []

    def killed_in(*which: int):
        def on_train_epoch_end(self, trainer, module):
            whole(self, trainer, module)
            epochs.append(trainer.current_epoch + 1)
            if len(epochs) in which:
                raise Killed

        return on_train_epoch_end

    monkeypatch.setattr(Course, "on_train_epoch_end", killed_in(2, 5))
    for _ in range(2):
        with pytest.raises(Killed):
            run(recipe, out, said.append)
        assert len(list(out.glob("tiny/*/checkpoint/pretrain.*.safetensors"))) == 1
    done = run(recipe, out, said.append)
    # Of the head's two, of all three; killed at the end of the second, and so only that again.
    assert epochs == [1, 2, 2, 1, 2, 2, 3]
    assert artefact(done, "pretrain.json") == artefact(adapted, "pretrain.json")
    assert done.texts.equal(adapted.texts)
    assert not (done.folder / "checkpoint").exists()


def test_other_pretraining_redoes_what_follows(adapted: Run, headless: Path, tmp_path, monkeypatch):
    """In the folder of a run whose recipe said something else, as after a change of xrec."""
    import shutil

    monkeypatch.setattr(pretraining, "HEAD_EPOCHS", 2)
    other = recipe_of(tmp_path, headless, "pretrain.epochs=1")
    folder = tmp_path / "runs" / other.name / other.digest()[:10]
    shutil.copytree(adapted.folder, folder)
    said: list[str] = []
    again = run(other, tmp_path / "runs", said.append)
    assert again.folder == folder
    assert "data: done before" in said
    for stage in ("pretrain", "encode", "train", "quality", "recommend", "report"):
        assert f"{stage} …" in said
    assert not again.texts.equal(adapted.texts)


def test_a_head_of_the_files_is_used(headed: Path, tmp_path: Path):
    finished = run(recipe_of(tmp_path, headed), tmp_path / "runs")
    found = artefact(finished, "pretrain.json")
    assert found["head"] == "from the model's files"
    assert found["perplexity"]["after"] < found["perplexity"]["before"]
    words = " ".join(vars(b).get("text", "") for b in Training().render(finished).blocks)
    assert "perplexity" in words
    assert "fitted first" not in words
    kept = load_file(finished.folder / "encoder" / "model.safetensors")
    assert not any("cls." in name for name in kept)


def test_a_failure_leaves_nothing(headed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pretraining.shutil, "copyfile", full)
    recipe = recipe_of(tmp_path, headed)
    with pytest.raises(XrecError, match="the disk is full"):
        run(recipe, tmp_path / "runs")
    stopped = Run(recipe, tmp_path / "runs" / recipe.name / recipe.digest()[:10])
    assert [record["stage"] for record in stopped.store.records()] == ["data"]
    assert not list(stopped.folder.rglob("*.partial"))


def test_training_that_goes_astray_says_so(headed: Path, tmp_path: Path):
    with pytest.raises(TrainingError, match=r"pretrain: the held-out perplexity is \w+ after"):
        run(recipe_of(tmp_path, headed, "pretrain.lr=1e30"), tmp_path / "runs")


# What is held out


@pytest.fixture(scope="module")
def language(headless: Path) -> LanguageModel:
    return LanguageModel.load(headless)


TEXTS = ["", "a lamp", "a tent", "A  LAMP", "a red tent", "the sea", "the sea and a lamp", "a sea"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_texts_are_learnt_or_held_out(language: LanguageModel, share: float, seed: int):
    options = PretrainOptions(held_out=share)
    learnt, held = split(language, TEXTS, 64, options, seed)
    told = {tuple(ids) for ids in language.tokens(TEXTS)} - {()}
    assert len(told) == 6  # "a lamp" is there twice
    assert len(learnt) + len(held) == 6
    assert {*learnt, *held} == told
    assert len(held) == max(1, round(share * 6))
    assert split(language, TEXTS, 64, options, seed) == (learnt, held)


def test_texts_that_differ_only_beyond_what_is_read_are_one(language: LanguageModel):
    learnt, held = split(language, TEXTS, 5, PretrainOptions(), 0)
    assert max(map(len, [*learnt, *held])) == 3
    assert len({*learnt, *held}) == len([*learnt, *held])


def test_another_seed_holds_other_texts_out(language: LanguageModel):
    found = {tuple(split(language, TEXTS, 64, PretrainOptions(), seed)[1]) for seed in range(9)}
    assert len(found) > 2


def test_nothing_held_out_is_trained_on(headless: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pretraining, "HEAD_EPOCHS", 2)
    fitted: list[tuple[int, ...]] = []
    held: list[tuple[int, ...]] = []
    step, measure = Guesser.training_step, Guesser.perplexity

    def whole(puzzle) -> list[tuple[int, ...]]:
        ids = torch.where(puzzle.labels >= 0, puzzle.labels, puzzle.ids)
        rows = zip(ids.tolist(), puzzle.mask.sum(1).tolist(), strict=True)
        return [tuple(row[:length]) for row, length in rows]

    def stepped(self, puzzle, index):
        fitted.extend(whole(puzzle))
        return step(self, puzzle, index)

    def measured(self, puzzles):
        held.append(tuple(row for puzzle in puzzles for row in whole(puzzle)))
        return measure(self, puzzles)

    monkeypatch.setattr(Guesser, "training_step", stepped)
    monkeypatch.setattr(Guesser, "perplexity", measured)
    finished = run(recipe_of(tmp_path, headless), tmp_path / "runs")
    found = artefact(finished, "pretrain.json")["texts"]
    before, after = held
    assert before == after
    assert len(before) == found["held_out"]
    assert not set(before) & set(fitted)
    assert len(set(fitted)) == found["trained_on"]
    assert len(fitted) == (2 + 3) * found["trained_on"]


def test_too_few_texts(language: LanguageModel):
    with pytest.raises(RecipeError) as raised:
        split(language, ["", "a lamp", "a lamp"], 64, PretrainOptions(), 0)
    assert str(raised.value) == (
        "pretrain.held_out: 10% of 1 different texts leaves none to learn from: make it smaller, "
        "or leave pretrain out"
    )
    with pytest.raises(XrecError, match="choose a multilingual model"):
        split(language, ["чайник", "лампа"], 64, PretrainOptions(), 0)


# What cannot be trained further


def refused(xrec, recipe: Path) -> str:
    folder, told = recipe.parent, set()
    for command in (("check",), ("run", "--runs", folder / "runs")):
        code, _, err = xrec(command[0], recipe, "pretrain=mlm", *command[1:])
        assert code == 2
        told.add(err)
    assert not (folder / "runs").exists()
    (one,) = told
    return one.strip()


def test_an_encoder_without_a_language_model(xrec, tmp_path: Path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert refused(xrec, tmp_path / "tiny.yaml") == (
        "xrec: pretrain: the encoder hashed has no language model to train further: choose "
        "{name: pretrained, …}, or leave pretrain out"
    )


def test_a_decoder(xrec, tmp_path: Path):
    source = saved("gpt2", tmp_path / "gpt2")
    assert refused(xrec, _written(tmp_path, source)) == (
        "xrec: pretrain: 'mlm' hides words to be guessed from both sides, and a 'gpt2' model, a "
        "decoder, sees only what comes before: choose an encoder, such as BERT, or leave pretrain "
        "out"
    )


def test_a_tokenizer_without_a_mask(xrec, tmp_path: Path):
    source = saved("bert", tmp_path / "bert", bytes_of(pad_token="<p>", eos_token="<e>"))
    assert refused(xrec, _written(tmp_path, source)) == (
        f"xrec: pretrain: 'mlm' needs a mask token, and the tokenizer in {source} has none: choose "
        "another encoder, or leave pretrain out"
    )
