"""The contract of a compressor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from xrec.data.module import Data
from xrec.models.recommender import Recommender

Tell = Callable[[str], None]


class Compressor(Protocol):
    """A compressor plugin; its fields are its options in the recipe's `compress:`.

    What it gives is still a recommender: `embed`, `score` and, of a model that attends, `attend`
    hold. All its weights are its own, adapters merged, in evaluation mode.

    One that changes the shape of the model is `Reshaping` too, and one whose weights are not in
    float32, or are not computed with in float32, `Rounding`. One that does not look at the data
    says so by a class variable, `learns = False`: after private training no other is allowed.
    """

    def compress(self, model: Recommender, data: Data, tell: Tell) -> Recommender:
        """A smaller model; `model` is its to change. It may learn from `data`, and tell of it.

        Raises XrecError where it cannot work with the model.
        """


@runtime_checkable
class Reshaping(Protocol):
    """A compressor after which the weights have other names or shapes."""

    def form(self, model: Recommender) -> dict[str, Any]:
        """Plain values that say, beside the options, what shape `compress` gave to `model`."""

    def shaped(self, model: Recommender, form: Mapping[str, Any]) -> Recommender:
        """The model of before in the shape of after; weights are of no account, and loaded next.

        `model` is its to change.
        """


@runtime_checkable
class Rounding(Protocol):
    """A compressor after which a model computes with rounded numbers."""

    def twin(self, model: Recommender) -> Recommender:
        """What `compress` gave, computed in float32 throughout: a copy, whose gradients are true.

        Its weights are those of `model`, as rounded as they are.
        """
