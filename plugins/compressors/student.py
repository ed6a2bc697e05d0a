"""A smaller model of the same kind: with fewer of its layers, or built anew in other sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from xrec.errors import XrecError
from xrec.models.language import LanguageModel
from xrec.models.recommender import Recommender

#: Where the layers that a student keeps stand among the teacher's.
KEPT = ("spread", "first", "last")


@runtime_checkable
class Resizable(Protocol):
    """A model that can be built anew in other sizes, as `sequential` can."""

    def resized(self, layers: int, width: int = 0, heads: int = 0) -> Recommender:
        """A fresh model that reads the same; with 0, as wide or with as many heads as before.

        Raises ValueError: the sizes do not go together.
        """


def stack(model: Recommender, of: str) -> nn.ModuleList:
    """The layers that are counted, as the module that holds them.

    of: "language", those of the language model within, or "model", those that read the slots
    (`layers_read`); if empty, the language model's where there is one.

    Raises XrecError: there are none, or they are not where they can be taken away.
    """
    within = next((each for each in model.modules() if isinstance(each, LanguageModel)), None)
    if of == "language" and within is None:
        raise XrecError(
            f"compressor 'distil': the model {type(model).__name__} has no language model of its "
            "own: set of to model"
        )
    layers = model.layers_read if within is None or of == "model" else within.layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) and [*module] == [*layers]:
            return module
    raise XrecError(
        f"compressor 'distil': the model {type(model).__name__} has no layers to take away "
        "(`layers_read`, held by one torch.nn.ModuleList)"
    )


def places(count: int, of: int, keep: str) -> list[int]:
    """Which `count` of `of` layers are kept: the first, the last, or some spread over all.

    Spread, the first and the last are among them, as in DistilBERT (Sanh et al., 2019).
    """
    if keep == "spread":
        return torch.linspace(0, of - 1, count).round().int().tolist()
    return list(range(count) if keep == "first" else range(of - count, of))


def shallower(model: Recommender, layers: nn.ModuleList, kept: Sequence[int]) -> None:
    """Take all but some of its layers from a model, in place."""
    for at in reversed(range(len(layers))):
        if at not in kept:
            del layers[at]
    for module in model.modules():
        if isinstance(module, LanguageModel) and any(m is layers for m in module.modules()):
            _told(module.transformer.config, kept)


def _told(config: object, kept: Sequence[int]) -> None:
    """Let a `transformers` configuration tell of the layers that were kept alone."""
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and name.endswith("layer_types"):
            setattr(config, name, [value[at] for at in kept])
    config.num_hidden_layers = len(kept)  # type: ignore[attr-defined]
