"""Texts are encoded once; their vectors are kept, mapped into memory, and written whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from xrec.errors import XrecError
from xrec.models.encoder import encode_once


@dataclass
class Counting:
    """An encoder that remembers what it was asked."""

    name: str = "one"
    calls: list[list[str]] = field(default_factory=list)

    def digest(self) -> str:
        return self.name

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.calls.append(list(texts))
        return torch.tensor([[len(text), sum(map(ord, text))] for text in texts]).float()


class Failing(Counting):
    def encode(self, texts: Sequence[str]) -> Tensor:
        raise RuntimeError("out of breath")


MAPS = Path("/proc/self/maps")
TEXTS = ["", "tent", "a lamp to read by", "été"]


def test_the_second_time_nothing_is_encoded(tmp_path: Path):
    encoder = Counting()
    first = encode_once(encoder, TEXTS, tmp_path)
    again = encode_once(encoder, list(TEXTS), tmp_path)
    assert encoder.calls == [TEXTS]
    assert first.equal(again)
    assert first.equal(Counting().encode(TEXTS))
    assert first.dtype == torch.float32


@pytest.mark.parametrize(
    "texts",
    [
        ["", "tent", "a lamp to read by"],
        ["tent", "", "a lamp to read by", "été"],
        ["", "tent", "a lamp to read by", "ete"],
        ["", "ten", "ta lamp to read by", "été"],  # the same letters, cut elsewhere
    ],
)
def test_other_texts_are_encoded_anew(texts: list[str], tmp_path: Path):
    encoder = Counting()
    encode_once(encoder, TEXTS, tmp_path)
    assert encode_once(encoder, texts, tmp_path).equal(Counting().encode(texts))
    assert len(encoder.calls) == 2


def test_another_encoder_encodes_anew(tmp_path: Path):
    encode_once(Counting("one"), TEXTS, tmp_path)
    other = Counting("two")
    encode_once(other, TEXTS, tmp_path)
    assert len(other.calls) == 1
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(not MAPS.is_file(), reason="only Linux tells what a process has mapped")
def test_vectors_are_mapped_from_the_file(tmp_path: Path):
    vectors = encode_once(Counting(), TEXTS, tmp_path)
    (path,) = tmp_path.iterdir()
    assert str(path) in MAPS.read_text()
    del vectors
    assert str(path) not in MAPS.read_text()


def test_changing_the_vectors_does_not_change_the_file(tmp_path: Path):
    vectors = encode_once(Counting(), TEXTS, tmp_path)
    vectors += 1
    assert encode_once(Failing(), TEXTS, tmp_path).equal(Counting().encode(TEXTS))


def test_a_folder_is_made_if_need_be(tmp_path: Path):
    encode_once(Counting(), TEXTS, tmp_path / "deep" / "down")
    assert len(list((tmp_path / "deep" / "down").iterdir())) == 1


def test_the_default_folder_is_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("xrec.models.encoder.user_cache_path", lambda name: tmp_path / name)
    encode_once(Counting(), TEXTS)
    assert [path.suffix for path in (tmp_path / "xrec" / "texts").iterdir()] == [".npy"]


def test_an_encoder_that_fails_leaves_nothing(tmp_path: Path):
    with pytest.raises(RuntimeError, match="out of breath"):
        encode_once(Failing(), TEXTS, tmp_path)
    assert list(tmp_path.iterdir()) == []
    encode_once(Counting(), TEXTS, tmp_path)  # the same key, now encoded


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(file, *_: object, **__: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xrec.models.encoder.np.save", full)
    with pytest.raises(XrecError, match="the disk is full"):
        encode_once(Counting(), TEXTS, tmp_path)
    assert list(tmp_path.iterdir()) == []
