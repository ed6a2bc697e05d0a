"""Texts as hashed bags of words: the floor that a pretrained encoder must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor

from xrec import hookimpl


@dataclass(frozen=True)
class Hashed:
    """Options: size, the number of hash buckets, which is the width of a vector."""

    size: int = 256

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}, it must be at least 1")

    def digest(self) -> str:
        """The options are all there is."""
        return repr(self)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, size) float32 of unit length, signed word counts (Weinberger et al., 2009)."""
        counts = HashingVectorizer(n_features=self.size).transform(texts)
        return torch.from_numpy(counts.toarray()).float()


@hookimpl
def xrec_encoders() -> dict[str, type]:
    """Offer the hashed encoder."""
    return {"hashed": Hashed}
