"""Item texts as vectors, encoded once and kept in a memory-mapped cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import Tensor

from xrec.files import written

if TYPE_CHECKING:
    from xrec.models.family import Family
    from xrec.models.language import LanguageModel


class Encoder(Protocol):
    """The contract of an encoder plugin; its fields are its options in the recipe's `encoder:`."""

    def digest(self) -> str:
        """A digest of what determines the vectors: weights and settings.

        Called before a run writes anything. Raises XrecError when the model cannot be had.
        """

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, E) float32, a vector for each text."""


@runtime_checkable
class Reader(Encoder, Protocol):
    """An encoder that also gives its language model, to models that learn to read or read tokens.

    tune: "frozen", or what of it learns. max_tokens: of a text, special tokens included.
    """

    @property
    def tune(self) -> str:
        """What of the language model learns."""

    @property
    def max_tokens(self) -> int:
        """Longer texts are cut off there."""

    def language(self) -> LanguageModel:
        """The language model, fresh from its files."""


@runtime_checkable
class Adaptable(Reader, Protocol):
    """A reader whose language model `pretrain:` may train further."""

    @property
    def folder(self) -> Path:
        """Where the model's files are."""

    @property
    def family(self) -> Family:
        """What kind of model it is."""

    def adapted(self, folder: Path) -> Encoder:
        """The same encoder with the model's files of `folder`."""


def encode_once(encoder: Encoder, texts: Sequence[str], folder: Path | None = None) -> Tensor:
    """(N, E) float32: the vectors of texts, from the cache if they are there.

    The cache is keyed by the encoder's digest and the texts, and memory-mapped, so that a catalogue
    larger than memory can be read row by row.
    """
    folder = folder or user_cache_path("xrec") / "texts"
    key = hashlib.sha256(encoder.digest().encode())
    for text in texts:
        key.update(hashlib.sha256(text.encode()).digest())
    path = folder / f"{key.hexdigest()}.npy"
    if not path.is_file():
        vectors = encoder.encode(texts).numpy()
        with written(path) as partial, partial.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
