"""The planted world's own rule as a model, so that what it makes of each feature is known exactly.

Nothing is learned: the weights are those of the rule (`xrec_plugins.datasets.planted`). The score
is the pull of the past and of the stated interest on the candidate's category: a sum of products
event × candidate, event × event × candidate and profile value × candidate, in which no slot comes
twice; and a little that the candidate has of its own, as the rule does not tell the items of a
category apart and a ranking must. A score that is linear in each of its slots has contributions in
closed form: each product is shared equally among its slots. These are the Shapley values (Shapley,
1953), the same by removal and by the zero baseline, and Integrated Gradients from zero
(Sundararajan et al., 2017) as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec import hookimpl
from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, ITEM, PROFILE, FeatureIndex
from xrec.data.module import Data
from xrec.errors import nearest
from xrec.models.encoder import Encoder
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec_plugins.datasets.dresses import worn
from xrec_plugins.datasets.planted import (
    AFFINITY,
    CHOICES,
    DECAY,
    DISTRACTOR,
    INTEREST,
    KINDS,
    PUTS_OFF,
    TOGETHER,
    TRIOS,
    WINDOW,
)

TIE = 0.01  # at most, of what an item has of its own
CAUSES = ("affinity", "recency", "interaction", "suppressor", "interest")


@dataclass(frozen=True)
class PlantedRule:
    """Options: causes, those of the world's that the model knows, all by default.

    affinity: what goes with an event's category, or after it less. suppressor: what it puts off.
    interaction: what two categories make likelier together. interest: the one that is stated.
    recency: the later an event the more it weighs; without it, the last ten weigh the same. Without
    interactions the score is a sum over the features, but for the candidate.
    """

    causes: list[str] = field(default_factory=lambda: list(CAUSES))

    def __post_init__(self) -> None:
        for cause in self.causes:
            if cause not in CAUSES:
                raise ValueError(f"causes has '{cause}': {nearest(cause, CAUSES)}")
        if not set(self.causes) - {"recency"}:
            raise ValueError("causes names nothing that pulls at anything: add affinity, at least")

    def build(self, data: Data, texts: Tensor, encoder: Encoder) -> Recommender:
        """The rule. Raises DataError where the data are not a planted world."""
        return PlantedRuleRecommender(self.causes, data, texts)


class PlantedRuleRecommender(Recommender):
    """Slots, in order: L events, P profile values, the candidate.

    Each says its category, one-hot, and the candidate, in one number more, which item it is.
    Profile values that state no interest say the distractor, of which nothing is made. Recency is
    by an event's place in the history, whatever else is present.
    """

    apart: ClassVar[tuple[int, ...]] = (ITEM,)
    kinds: Tensor
    stated: Tensor
    own: Tensor
    trios: Tensor
    texts: Tensor

    def __init__(self, causes: Sequence[str], data: Data, texts: Tensor) -> None:
        super().__init__(data)
        dress = worn(data)

        def constant(name: str, value: Tensor) -> None:
            self.register_buffer(name, value, persistent=False)

        def weight(value: Tensor, cause: str) -> nn.Parameter:
            return nn.Parameter(value * (cause in causes), requires_grad=False)

        kinds, stated = torch.tensor(dress.kinds(data)), torch.tensor(dress.interests(data))
        constant("kinds", kinds)
        constant("stated", stated.where(stated >= 0, DISTRACTOR))
        constant("own", torch.arange(len(kinds)) / len(kinds))
        constant("trios", torch.tensor(TRIOS))
        constant("texts", texts)  # not read, but by who compares items
        pull, off = torch.from_numpy(AFFINITY).float(), torch.from_numpy(AFFINITY == PUTS_OFF)
        back = DECAY if "recency" in causes else 1.0
        self.affinity = weight(pull.masked_fill(off, 0), "affinity")  # (KINDS, CHOICES)
        self.suppressor = weight(pull.masked_fill(~off, 0), "suppressor")  # (KINDS, CHOICES)
        self.together = weight(torch.full((len(TRIOS),), TOGETHER), "interaction")
        self.interest = weight(torch.full((CHOICES,), INTEREST), "interest")
        recency = torch.from_numpy(back ** np.arange(WINDOW)).float()  # of the latest event first
        self.recency = nn.Parameter(recency, requires_grad=False)
        self.tie = nn.Parameter(torch.tensor([TIE]), requires_grad=False)
        self.names: Mapping[int, Sequence[str]] = {
            BEHAVIOUR: data.titles,
            PROFILE: data.profile.names,
            ITEM: [f"{dress.kind}: {name}" for name in dress.categories],
        }

    def text_vectors(self) -> Tensor:
        """(N + 1, E) as the encoder made them; the score does not read them."""
        return self.texts

    def embed(self, batch: Batch) -> Inputs:
        """F = L + P + 1 slots of KINDS + 1; padding and unknown profile values are absent."""
        kind = self.kinds[batch.candidate][:, None]
        others = torch.cat([self.kinds[batch.history], self.stated[batch.profile]], dim=1)
        values = torch.cat([self._one_hot(others), self._candidate(batch.candidate)], dim=1)
        key = torch.cat([batch.history, batch.profile, kind], dim=1)
        sizes = (batch.history.shape[1], batch.profile.shape[1], 1)
        groups = torch.tensor((BEHAVIOUR, PROFILE, ITEM), device=key.device)
        group = groups.repeat_interleave(torch.tensor(sizes, device=key.device)).expand_as(key)
        features = FeatureIndex(group, key, torch.full_like(key, -1), self.names)
        there = (batch.history > 0, batch.profile > 0, batch.candidate[:, None] > 0)
        return Inputs(values, torch.cat(there, dim=1), features, item=batch.candidate)

    def _one_hot(self, kind: Tensor) -> Tensor:
        """(B, F, KINDS + 1) categories (B, F)."""
        return functional.one_hot(kind, KINDS + 1).to(self.own)

    def _candidate(self, items: Tensor) -> Tensor:
        """(B, 1, KINDS + 1) what the slot of items (B,) says."""
        own = functional.pad(self.own[items][:, None, None], (KINDS, 0))
        return self._one_hot(self.kinds[items][:, None]) + own

    def _heard(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """What is there: events (B, L, KINDS) by recency, profile, candidate (B, KINDS + 1)."""
        values = torch.where(inputs.present[..., None], inputs.values, 0)
        length = values.shape[1] - 1 - self.data_module.profile.values.shape[1]
        events, profile, candidate = values.tensor_split((length, -1), dim=1)
        late = self.recency.flip(0)[-length:]
        late = functional.pad(late, (length - len(late), 0))
        return events[..., :KINDS] * late[:, None], profile[..., :KINDS], candidate[:, 0]

    def _pull(self, inputs: Inputs) -> Tensor:
        """(B, KINDS) the pull of the user's features on each category."""
        events, profile, _ = self._heard(inputs)
        mass = events.sum(1)
        one, other, towards = self.trios.T
        both = mass[:, one] * mass[:, other] - (events[..., one] * events[..., other]).sum(1)
        pull = mass @ (self.affinity + self.suppressor)
        pull = pull + profile.sum(1)[:, :CHOICES] * self.interest
        pull = pull.index_add(1, towards, both * self.together)
        return functional.pad(pull, (0, KINDS - CHOICES))

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        """(B,) the pull on the candidate, the same for every task."""
        candidate = self._heard(inputs)[2]
        pull = (self._pull(inputs) * candidate[:, :KINDS]).sum(1)
        return pull + self.tie * candidate[:, KINDS]

    def exchanged(self, inputs: Inputs, items: Tensor) -> Inputs:
        """The same users' features with other items (B,) in the last slot."""
        key, present = inputs.features.key.clone(), inputs.present.clone()
        key[:, -1], present[:, -1] = self.kinds[items], items > 0
        values = torch.cat([inputs.values[:, :-1], self._candidate(items)], dim=1)
        features = replace(inputs.features, key=key)
        return Inputs(values, present, features, inputs.rivals, item=items)

    def choices(self, inputs: Inputs, items: Tensor) -> Tensor:
        """(B, K) the pull on items (B, K)."""
        return self._pull(inputs).gather(1, self.kinds[items]) + self.tie * self.own[items]

    def catalogue(self, batch: Batch) -> Tensor:
        """(B, N + 1) the pull on each item."""
        return self._pull(self.embed(batch))[:, self.kinds] + self.tie * self.own

    @torch.no_grad()
    def contributions(self, inputs: Inputs) -> Tensor:
        """(B, F) Shapley values: each product shared equally among its slots."""
        events, profile, candidate = self._heard(inputs)
        own, others = candidate[:, None, :CHOICES], events.sum(1, keepdim=True) - events
        one, other, towards = self.trios.T
        alone = ((events @ (self.affinity + self.suppressor)) * own).sum(-1)  # (B, L)
        told = (profile[..., :CHOICES] * self.interest * own).sum(-1)  # (B, P)
        both = events[..., one] * others[..., other] + events[..., other] * others[..., one]
        paired = (both * self.together * own[..., towards]).sum(-1)  # each pair in two slots
        item = alone.sum(1) / 2 + told.sum(1) / 2 + paired.sum(1) / 6
        item = item + self.tie * candidate[:, KINDS]
        return torch.cat([alone / 2 + paired / 3, told / 2, item[:, None]], dim=1)


@hookimpl
def xrec_models() -> dict[str, type]:
    """Offer the planted rule."""
    return {"planted_rule": PlantedRule}
