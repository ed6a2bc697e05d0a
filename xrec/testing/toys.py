"""Recommenders of the small world whose contributions are known in closed form."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, FIXED, GROUPS, ITEM, PROFILE, FeatureIndex
from xrec.data.module import Data
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

WIDTH = 4


class LinearToy(Recommender):
    """score = bias + Σ over present slots of the weight of its group · its vector.

    The slots are events, profile values, a fixed one and the candidate; their vectors are drawn
    from `seed`. Groups in `deaf` are not looked at: whatever their slots hold changes nothing.
    """

    def __init__(self, data: Data, deaf: Iterable[int] = (), seed: int = 0) -> None:
        super().__init__(data)
        generator = torch.Generator().manual_seed(seed)

        def draw(rows: int, width: int = WIDTH) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, width, generator=generator) / WIDTH**0.5)

        self.items, self.values = draw(len(data.items)), draw(len(data.profile.names))
        self.still, self.bias = draw(1), draw(1, 1)
        self.weight = nn.Parameter(draw(len(GROUPS)).data * WIDTH**0.5)
        self.weight.data[list(deaf)] = 0
        self.names = {
            BEHAVIOUR: tuple(data.titles),
            PROFILE: data.profile.names,
            FIXED: ("bias",),
            ITEM: tuple(data.titles),
        }

    def embed(self, batch: Batch) -> Inputs:
        """F = L + P + 2 slots of `WIDTH`; padding and unknown profile values are absent."""
        nothing, one = torch.zeros_like(batch.candidate)[:, None], batch.candidate[:, None]
        parts = (batch.history, batch.profile, nothing, one)
        groups = torch.tensor((BEHAVIOUR, PROFILE, FIXED, ITEM), device=one.device)
        sizes = torch.tensor([part.shape[1] for part in parts], device=one.device)
        key = torch.cat(parts, dim=1)
        group = groups.repeat_interleave(sizes).expand_as(key)
        still = self.still.expand(len(batch), 1, -1)
        each = (self.items[batch.history], self.values[batch.profile], still, self.items[one])
        features = FeatureIndex(group, key, torch.full_like(key, -1), self.names)
        present = (key > 0) | (group == FIXED)
        return Inputs(torch.cat(each, dim=1), present, features, item=batch.candidate)

    def said(self, inputs: Inputs) -> Tensor:
        """(B, F) what each slot says, 0 where it is absent: its contribution, if it is a player."""
        values = torch.where(inputs.present[..., None], inputs.values, 0)
        return (values * self.weight[inputs.features.group]).sum(-1)

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        """(B,) the sum."""
        return self.bias[0] + self.said(inputs).sum(1)

    def exchanged(self, inputs: Inputs, items: Tensor) -> Inputs:
        """The same users' features with other items (B,), each in the last slot."""
        key, present = inputs.features.key.clone(), inputs.present.clone()
        key[:, -1], present[:, -1] = items, True
        features = inputs.features
        moved = FeatureIndex(features.group, key, features.parent, features.names)
        values = torch.cat([inputs.values[:, :-1], self.items[items][:, None]], dim=1)
        return Inputs(values, present, moved, inputs.rivals, item=items)


class BentToy(LinearToy):
    """The linear toy's score, bent, so that any number of slots interact."""

    def __init__(self, data: Data, deaf: Iterable[int] = (), seed: int = 0) -> None:
        super().__init__(data, deaf, seed)
        self.bend = nn.Tanh()

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        """(B,) 3 tanh of half the sum."""
        return 3 * self.bend(super().score(inputs) / 2)
