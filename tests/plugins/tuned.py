"""Small models that have a language model of their own, whose weights are all kept with them."""

from __future__ import annotations

from pathlib import Path

import torch
from tongues import bytes_of, saved

from xrec.data.module import Data
from xrec.models.recommender import Recommender
from xrec.testing import small_data
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.models.cross_encoder import CrossEncoder
from xrec_plugins.models.sequential import Sequential

RETRIEVER = {"width": 16, "layers": 1}
OPTIONS = {"tokens": 64, "item_tokens": 9, "candidates": 4, "rows": 3, "retriever": RETRIEVER}


def told(text: str) -> None:
    """Nobody is."""


def folder(family: str, place: Path) -> Path:
    """A tiny language model of a family in a folder, made if it is not there."""
    if not (place / "config.json").exists():
        saved(family, place, bytes_of(None if family in ("gpt2", "qwen2") else "<s>"))
    return place


def world() -> Data:
    """The small world, in few words."""
    data = small_data(history=4)
    items = data.tables.items.with_columns(text=data.tables.items["title"])
    users = data.tables.users.select("user", "age")
    return Data(data.tables.replace(items=items, users=users), data.options, data.train, 0)


def cross_encoder(place: Path, tune: str = "full") -> Recommender:
    """A cross-encoder over the language model of a folder, untrained, settled, in evaluation."""
    return _settled(CrossEncoder(**OPTIONS), place, tune)  # type: ignore[arg-type]


def sequential(place: Path, tune: str = "full") -> Recommender:
    """A sequential model whose encoder learns, untrained, settled, in evaluation mode."""
    return _settled(Sequential(**RETRIEVER), place, tune)  # type: ignore[arg-type]


def _settled(architecture: CrossEncoder | Sequential, place: Path, tune: str) -> Recommender:
    data, encoder = world(), Pretrained(str(place), tune=tune)
    torch.manual_seed(0)
    model = architecture.build(data, encoder.encode(data.texts), encoder)
    model.settle()
    return model.eval()
