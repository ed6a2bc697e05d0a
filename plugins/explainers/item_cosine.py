"""Item cosine: the more an event's text is like the item's, the more it is said to matter; a floor.

It is what "because you had something like it" rests on where nobody asked the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xrec import hookimpl
from xrec.errors import XrecError
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class ItemCosine:
    """A floor: the cosine between the text of an event's item and that of the item recommended.

    The texts' vectors are the encoder's; other groups get nothing. Where an event is read by its
    words, its value is split evenly among them.
    """

    standing: ClassVar[str] = "floor"
    excused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("linear", "completeness", "symmetry", "dummy"), "it does not look at the model"
    )

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Compare texts; the model is asked for score and base alone.

        Raises XrecError for a model that keeps no vectors of texts, or whose inputs do not tell
        which item they are about.
        """
        with probe(model) as cost, torch.no_grad():
            alike = _cosines(model, inputs)
            game = Game(model, inputs, target)
            score, base = game.everything(), game.nothing()
            values = inputs.features.parted(alike.to(score), inputs.players)
        return Explanation.of(inputs, values, score, base, cost, "item_cosine")


def _cosines(model: Recommender, inputs: Inputs) -> Tensor:
    """(B, F) of each slot's item with the row's, 0 where a slot is of no event."""
    if inputs.item is None:
        raise XrecError(
            f"explainer item_cosine: the inputs of the model {type(model).__name__} do not tell "
            "which item they are about: let its embed and exchanged give `item`"
        )
    texts = model.text_vectors()
    items = inputs.features.items
    own = texts[inputs.item.to(texts.device)][:, None]
    cosines = functional.cosine_similarity(texts[items.to(texts.device)], own, dim=-1)
    return torch.where(items > 0, cosines.to(inputs.values.device), 0)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer the item-cosine floor."""
    return {"item_cosine": ItemCosine}
