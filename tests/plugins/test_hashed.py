"""The hashed encoder, against a count of hashed words in a loop."""

from __future__ import annotations

import math
import re

import pytest
import torch

from xrec.models.encoder import encode_once
from xrec_plugins.encoders.hashed import Hashed

murmurhash3_32 = pytest.importorskip("sklearn.utils").murmurhash3_32

TEXTS = ["small red tent, for camping", "A lamp; a LAMP to read by", "", "été à la mer", "x y"]


def _looped(text: str, size: int) -> list[float]:
    """Words of two letters or more, each a signed count in its bucket; unit length."""
    counts = [0.0] * size
    for word in re.findall(r"\b\w\w+\b", text.lower()):
        hashed = murmurhash3_32(word)
        counts[abs(hashed) % size] += 1 if hashed >= 0 else -1
    length = math.sqrt(sum(count**2 for count in counts)) or 1
    return [count / length for count in counts]


@pytest.mark.parametrize("size", [1, 7, 256])
def test_words_are_counted_in_buckets(size: int):
    vectors = Hashed(size=size).encode(TEXTS)
    assert vectors.dtype == torch.float32
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert vector.tolist() == pytest.approx(_looped(text, size), abs=1e-6)


def test_texts_without_words_are_nothing():
    assert (Hashed().encode(["", "x y"]) == 0).all()


def test_the_digest_tells_the_size(tmp_path):
    assert Hashed(size=8).digest() == Hashed(size=8).digest() != Hashed(size=9).digest()
    assert encode_once(Hashed(size=8), TEXTS, tmp_path).shape == (5, 8)
    assert encode_once(Hashed(size=9), TEXTS, tmp_path).shape == (5, 9)


def test_no_bucket_at_all():
    with pytest.raises(ValueError, match="size is 0, it must be at least 1"):
        Hashed(size=0)
