"""A transformer over the history whose state is multiplied with item vectors.

Item texts are encoded once; an item's vector is the sum of its views: its text, its attributes and
its identity. History and profile slots are read by a transformer; a fixed query slot, which looks
at all of them, becomes the user's state. The candidate's slots sum to the item's vector, and the
logit is their product, so that the whole catalogue is one matrix product.

After SASRec (Kang and McAuley, 2018), with attention biased by the distance between events (Shaw et
al., 2018) in place of positions added to them, so that a slot's vector is the item alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec import hookimpl
from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, FIXED, ITEM, PROFILE, FeatureIndex
from xrec.data.module import Data
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class Sequential:
    """Options: width of the vectors, number of layers and heads, dropout."""

    width: int = 64
    layers: int = 2
    heads: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.layers < 1:
            raise ValueError(f"layers is {self.layers}, it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, it must be from 0 to below 1")

    def build(self, data: Data, texts: Tensor) -> Recommender:
        """A fresh model for the catalogue and users of `data`."""
        return SequentialRecommender(self, data, texts)


class SequentialRecommender(Recommender):
    """Slots, in order: L events, P profile values, the query (fixed), then the candidate's views.

    The candidate's views are its text, its identity, and each of its K attribute values.
    """

    attends: ClassVar[bool] = True
    texts: Tensor
    attributes: Tensor

    def __init__(self, options: Sequential, data: Data, texts: Tensor) -> None:
        super().__init__(data)
        width = options.width
        self.register_buffer("texts", texts, persistent=False)
        self.register_buffer("attributes", data.attributes.values, persistent=False)
        self.text = nn.Linear(texts.shape[1], width, bias=False)
        self.identity = nn.Embedding(len(data.items), width, padding_idx=0)
        self.attribute = nn.Embedding(len(data.attributes.names), width, padding_idx=0)
        self.profile = nn.Embedding(len(data.profile.names), width, padding_idx=0)
        self.query = nn.Parameter(torch.randn(width))
        self.kind = nn.Embedding(3, width)  # added to events, profile values and queries
        self.layers = nn.ModuleList(
            Layer(width, options.heads, options.dropout, data.options.history)
            for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(()))
        self.drop = nn.Dropout(options.dropout)
        self.names: Mapping[int, tuple[str, ...]] = {
            FIXED: ("query",),
            BEHAVIOUR: tuple(data.titles),
            PROFILE: data.profile.names,
            ITEM: ("text", "identity", *data.attributes.names[1:]),
        }
        for table in (self.identity, self.attribute, self.profile):
            nn.init.normal_(table.weight, std=width**-0.5)
            nn.init.zeros_(table.weight[0])

    def views(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (…, 2 + K, D) and presence (…, 2 + K) of the views of items (…)."""
        values = self.attributes[items]
        text, identity = self.text(self.texts[items]), self.identity(items)
        vectors = torch.cat(
            [text[..., None, :], identity[..., None, :], self.attribute(values)], dim=-2
        )
        real = (items > 0)[..., None]
        return vectors, torch.cat([real, real, values > 0], dim=-1)

    def items(self) -> Tensor:
        """(N + 1, D) vectors of the whole catalogue."""
        vectors, present = self.views(torch.arange(len(self.texts), device=self.texts.device))
        return (vectors * present[..., None]).sum(-2)

    def embed(self, batch: Batch) -> Inputs:
        """F = L + P + 1 + 2 + K slots; padding and unknown attributes are absent."""
        events = functional.embedding(batch.history, self.items())
        profile = self.profile(batch.profile)
        query = self.query.expand(len(batch), 1, -1)
        views, real = self.views(batch.candidate)
        known = torch.cat(
            [batch.history > 0, batch.profile > 0, torch.ones_like(real[:, :1]), real], dim=1
        )
        values = torch.cat([events, profile, query, views], dim=1)
        return Inputs(values, known, self._features(batch))

    def _features(self, batch: Batch) -> FeatureIndex:
        attributes = self.attributes[batch.candidate]
        names = torch.where(attributes > 0, attributes + 1, 0)
        text = torch.zeros_like(batch.candidate)[:, None]
        key = torch.cat([batch.history, batch.profile, text, text, text + 1, names], dim=1)
        sizes = (batch.history.shape[1], batch.profile.shape[1], 1, 2 + attributes.shape[1])
        groups = torch.tensor((BEHAVIOUR, PROFILE, FIXED, ITEM), device=key.device)
        group = groups.repeat_interleave(torch.tensor(sizes, device=key.device)).expand_as(key)
        return FeatureIndex(group, key, torch.full_like(key, -1), self.names)

    def score(self, inputs: Inputs) -> Tensor:
        """(B,) logits: state · item / √D + bias."""
        state, _ = self._read(inputs)
        views = slice(self._query(inputs) + 1, None)
        item = torch.where(inputs.present[:, views, None], inputs.values[:, views], 0).sum(1)
        return self._product(state, item)

    def _query(self, inputs: Inputs) -> int:
        """The slot of the query."""
        return inputs.values.shape[1] - 3 - self.attributes.shape[1]

    def _product(self, state: Tensor, item: Tensor) -> Tensor:
        return (state * item).sum(-1) / math.sqrt(item.shape[-1]) + self.bias

    def _read(self, inputs: Inputs) -> tuple[Tensor, list[Tensor]]:
        """State (B, D) and each layer's attention (B, H, S, S), S = L + P + 1 slots."""
        query = self._query(inputs)
        length = query - self.data_module.profile.values.shape[1]
        present = inputs.present[:, : query + 1]
        values = torch.where(present[..., None], inputs.values[:, : query + 1], 0)
        sees = torch.tensor([length], device=values.device)
        hidden, maps = self._run(values, present, length, sees)
        return self.norm(hidden[:, -1]), maps

    def _run(
        self, values: Tensor, present: Tensor, length: int, sees: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the layers on [events, profile, queries]; query q looks at the first sees[q] events.

        Events look at earlier events, themselves and the profile; a profile value at the profile;
        a query at its events, the profile and itself. So no query hears of a later event.
        """
        profiles = values.shape[1] - length - len(sees)
        counts = torch.tensor([length, profiles, len(sees)], device=values.device)
        kind = self.kind.weight.repeat_interleave(counts, dim=0)
        hidden = self.drop(values + kind)
        allowed, distance = _layout(length, profiles, sees)
        itself = torch.eye(values.shape[1], dtype=torch.bool, device=values.device)
        allowed = allowed & present[:, None, :] | itself
        maps = []
        for layer in self.layers:
            hidden, attention = layer(hidden, allowed, distance)
            maps.append(attention)
        return hidden, maps

    def attend(self, inputs: Inputs) -> list[Tensor]:
        """Attention of each layer (B, H, F, F). Candidate slots attend to themselves alone."""
        slots, whole = inputs.values.shape[1], []
        for attention in self._read(inputs)[1]:
            eye = torch.eye(slots, device=attention.device)
            full = eye.repeat(*attention.shape[:2], 1, 1)
            full[..., : attention.shape[2], : attention.shape[3]] = attention
            whole.append(full)
        return whole

    def catalogue(self, batch: Batch) -> Tensor:
        """(B, N + 1) logits: one matrix product of the states with the item vectors."""
        state, _ = self._read(self.embed(batch))
        return state @ self.items().T / math.sqrt(state.shape[1]) + self.bias

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy of every learned event of a window, against sampled negatives.

        One pass reads all the prefixes of a window: query t sees the events before t. A positive
        weighs as much as all the negatives of its row together.
        """
        assert batch.negatives is not None
        assert batch.learned is not None
        items = self.items()
        length = batch.history.shape[1]
        events = functional.embedding(batch.history, items)
        profile = self.profile(batch.profile)
        queries = self.query.expand(len(batch), length, -1)
        values = torch.cat([events, profile, queries], dim=1)
        present = torch.cat(
            [
                batch.history > 0,
                batch.profile > 0,
                torch.ones_like(batch.history, dtype=torch.bool),
            ],
            dim=1,
        )
        sees = torch.arange(length, device=values.device)
        hidden, _ = self._run(values, present, length, sees)
        state = self.drop(self.norm(hidden[:, -length:]))
        positive = self._product(state, events)
        rivals = functional.embedding(batch.negatives, items)
        negative = state @ rivals.transpose(1, 2) / math.sqrt(state.shape[-1]) + self.bias
        each = functional.softplus(-positive) + functional.softplus(negative).mean(-1)
        return {"bce": each[batch.learned].mean() / 2}


def _layout(length: int, profiles: int, sees: Tensor) -> tuple[Tensor, Tensor]:
    """Which slot may look at which, and how far back it looks: (S, S) bool and (S, S) int64.

    Distances: 0 from a slot to itself, d to the d-th last event, -1 to a profile value.
    """
    device = sees.device
    at = torch.arange(length, device=device)
    events = torch.cat([at, torch.zeros(profiles, dtype=torch.long, device=device), sees])
    total = len(events)
    column = torch.arange(total, device=device)
    is_profile = (column >= length) & (column < length + profiles)
    is_query = column >= length + profiles
    back = events[:, None] - at[None, :]
    sees_event = torch.where(is_query[:, None], back > 0, back >= 0) & ~is_profile[:, None]
    allowed = torch.zeros(total, total, dtype=torch.bool, device=device)
    allowed[:, :length] = sees_event
    allowed[:, length : length + profiles] = True
    distance = torch.zeros(total, total, dtype=torch.long, device=device)
    distance[:, :length] = back.clamp(min=0)
    distance[:, length : length + profiles] = -1
    return allowed, distance


class Layer(nn.Module):
    """Pre-norm attention and a feed-forward net, each added to what it read."""

    def __init__(self, width: int, heads: int, dropout: float, furthest: int) -> None:
        super().__init__()
        self.heads, self.furthest = heads, furthest
        self.before_attention, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.distance = nn.Embedding(furthest + 2, heads)  # the last row is for profile values
        self.drop = nn.Dropout(dropout)
        nn.init.zeros_(self.distance.weight)

    def forward(self, hidden: Tensor, allowed: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """hidden (B, S, D), allowed (B, S, S), distance (S, S) → hidden, attention (B, H, S, S)."""
        size = (*hidden.shape[:2], self.heads, -1)
        q, k, v = (
            part.view(size).transpose(1, 2)
            for part in self.qkv(self.before_attention(hidden)).chunk(3, dim=-1)
        )
        row = torch.where(distance < 0, self.furthest + 1, distance.clamp(max=self.furthest))
        bias = self.distance(row).permute(2, 0, 1)
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias
        attention = logits.masked_fill(~allowed[:, None], -torch.inf).softmax(-1)
        read = (attention @ v).transpose(1, 2).flatten(2)
        hidden = hidden + self.drop(self.out(read))
        return hidden + self.drop(self.feed(self.before_feed(hidden))), attention


@hookimpl
def xrec_models() -> dict[str, type]:
    """Offer the sequential model."""
    return {"sequential": Sequential}
