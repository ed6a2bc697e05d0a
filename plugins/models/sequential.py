"""A transformer over the history whose state is multiplied with item vectors.

Item texts are encoded once; an item's vector is the sum of its views: its text, its attributes and
its identity, each by its learned weight. History and profile slots are read by a transformer; a
fixed query slot, which looks at all of them, becomes the user's state. The candidate's slots sum to
the item's vector, and the logit is their product, so that the whole catalogue is a matrix product.

After SASRec (Kang and McAuley, 2018), with attention biased by the distance between events (Shaw et
al., 2018) in place of positions added to them, so that a slot's vector is the item alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec import hookimpl
from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, FIXED, ITEM, PROFILE, FeatureIndex
from xrec.data.module import Data
from xrec.errors import XrecError, nearest
from xrec.models.attention import Watched, among
from xrec.models.distinct import distinct
from xrec.models.encoder import Encoder, Reader
from xrec.models.heads import Product
from xrec.models.inputs import Inputs
from xrec.models.language import LanguageModel
from xrec.models.losses import contrast, regress
from xrec.models.recommender import Recommender
from xrec_plugins.models import similar
from xrec_plugins.models.reading import Reading
from xrec_plugins.models.views import VIEWS, Views

SHARED = 3  # times as dear an item is by itself as in the whole catalogue, which is shared
STARTS = ("random", "similar")
MANY = 8  # times as many items as are asked for: multiplying with all is quicker than picking


@dataclass(frozen=True)
class Sequential:
    """Options.

    width: of the vectors. layers, heads, dropout: of the transformer.
    views: what is known of an item: text, identity, attributes, or some of them.
    reads: the texts that a training step reads anew, where the encoder learns.
    start: what it is before it learns: "random", or "similar", which recommends what is like the
        last events by their texts.
    """

    width: int = 64
    layers: int = 2
    heads: int = 2
    dropout: float = 0.2
    views: list[str] = field(default_factory=lambda: list(VIEWS))
    reads: int = 64
    start: str = "random"

    def __post_init__(self) -> None:
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        for name in ("layers", "reads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, it must be from 0 to below 1")
        for view in self.views:
            if view not in VIEWS:
                raise ValueError(f"views has '{view}': {nearest(view, VIEWS)}")
        if self.start not in STARTS:
            raise ValueError(f"start is '{self.start}': {nearest(self.start, STARTS)}")
        if self.start == "similar" and ("text" not in self.views or self.width < 2):
            raise ValueError("start is 'similar': views must have 'text', and width be at least 2")
        if not self.views:
            raise ValueError(f"views is empty, it must name some of {', '.join(VIEWS)}")

    def build(self, data: Data, texts: Tensor, encoder: Encoder) -> Recommender:
        """A fresh model for the catalogue and users of `data`."""
        reading = None
        if isinstance(encoder, Reader) and encoder.tune != "frozen" and "text" in self.views:
            reading = Reading(encoder, data.texts, self.reads)
        return SequentialRecommender(self, data, texts, reading)


class Read(NamedTuple):
    """What the layers made of their slots.

    hidden (B, S, D): of all, or where the last layer was spared the others, of the queries.
    maps: each layer's attention (B, H, S, M + 1). after: the last slot (B, D), before any layer and
    after each.
    """

    hidden: Tensor
    maps: list[Tensor]
    after: list[Tensor]


class SequentialRecommender(Recommender):
    """Slots, in order: L events, P profile values, the query (fixed), then the candidate's views.

    The candidate's views are its text, its identity, and each of its K attribute values.
    """

    attends: ClassVar[bool] = True
    apart: ClassVar[tuple[int, ...]] = (ITEM,)
    texts: Tensor

    def __init__(
        self, options: Sequential, data: Data, texts: Tensor, reading: Reading | None = None
    ) -> None:
        super().__init__(data)
        width = options.width
        self.settings, self.reading = options, reading
        # Vectors that an encoder which learns made are kept with the weights that made them.
        self.register_buffer("texts", texts.clone(), persistent=reading is not None)
        chosen = [view for view in VIEWS if view in options.views]
        self.views = Views(chosen, data, texts.shape[1], width)
        self.profile = nn.Embedding(len(data.profile.names), width, padding_idx=0)
        self.query = nn.Parameter(torch.randn(width) * width**-0.5)
        self.kind = nn.Embedding(3, width)  # added to events, profile values and queries
        layers = [
            Layer(width, options.heads, options.dropout, data.options.history)
            for _ in range(options.layers)
        ]
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(
            Product(width, task, data.known(at)) for at, task in enumerate(data.tasks)
        )
        self.drop = nn.Dropout(options.dropout)
        self.names: Mapping[int, tuple[str, ...]] = {
            FIXED: ("query",),
            BEHAVIOUR: tuple(data.titles),
            PROFILE: data.profile.names,
            ITEM: self.views.names,
        }
        nn.init.normal_(self.profile.weight, std=width**-0.5)
        nn.init.zeros_(self.profile.weight[0])
        nn.init.zeros_(self.kind.weight)
        if options.start == "similar":
            similar.read_texts(self.views, self.texts)
            similar.recall_events(self.query, layers)

    def begin_with(self, counts: Tensor) -> None:
        """Let items begin with how often they were had, beside what is like a user's events.

        Raises XrecError: the model begins otherwise, or its items have no identity.
        """
        if self.settings.start != "similar" or "identity" not in self.settings.views:
            raise XrecError(
                "the model cannot begin with counts of items: set model.start to 'similar', and "
                "let model.views have 'identity'"
            )
        similar.count(self.views, counts)

    def resized(self, layers: int, width: int = 0, heads: int = 0) -> SequentialRecommender:
        """A fresh model of other sizes that reads the same; with 0, as wide or with as many heads.

        Raises ValueError: the width is not a multiple of the heads.
        """
        before = self.settings
        width, heads = width or before.width, heads or before.heads
        options = replace(before, layers=layers, width=width, heads=heads)
        made = SequentialRecommender(options, self.data_module, self.texts, self.reading)
        made.hook, made.learned = self.hook, self.learned
        return made

    def items(self, texts: Tensor | None = None) -> Tensor:
        """(N + 1, D) vectors of the whole catalogue, by other texts (N + 1, E) if given."""
        everything = torch.arange(len(self.texts), device=self.texts.device)
        vectors, present = self.views(self.texts if texts is None else texts, everything)
        return (vectors * present[..., None]).sum(-2)

    def on_validation_start(self) -> None:
        """Read the catalogue again if the encoder learns, so that what is measured is present."""
        if self.reading is not None:
            self.texts.copy_(self.reading.everything())

    def text_vectors(self) -> Tensor:
        """(N + 1, E) as the encoder made them, or makes them by now."""
        return self.texts

    def view_shares(self) -> dict[str, Tensor]:
        """(N + 1,) the share of each view in the weights of each item's slots."""
        everything = torch.arange(len(self.texts), device=self.texts.device)
        return self.views.shares(self.texts, everything)

    def embed(self, batch: Batch) -> Inputs:
        """F = L + P + 1 + V slots; padding and unknown attributes are absent.

        In training, an encoder that learns reads some of the batch's texts anew.
        """
        texts = self.texts
        if self.reading is not None and self.training and torch.is_grad_enabled():
            asked = torch.cat([batch.history, batch.candidate[:, None]], dim=1)
            texts = self.reading.anew(texts, asked)
        events = functional.embedding(batch.history, self.items(texts))
        profile = self.profile(batch.profile)
        query = self.query.expand(len(batch), 1, -1)
        views, real = self.views(texts, batch.candidate)
        known = torch.cat(
            [batch.history > 0, batch.profile > 0, torch.ones_like(real[:, :1]), real], dim=1
        )
        values = torch.cat([events, profile, query, views], dim=1)
        return Inputs(values, known, self._features(batch), item=batch.candidate)

    def _features(self, batch: Batch) -> FeatureIndex:
        query = torch.zeros_like(batch.candidate)[:, None]
        views = self.views.keys(batch.candidate)
        key = torch.cat([batch.history, batch.profile, query, views], dim=1)
        sizes = (batch.history.shape[1], batch.profile.shape[1], 1, views.shape[1])
        groups = torch.tensor((BEHAVIOUR, PROFILE, FIXED, ITEM), device=key.device)
        group = groups.repeat_interleave(torch.tensor(sizes, device=key.device)).expand_as(key)
        return FeatureIndex(group, key, torch.full_like(key, -1), self.names)

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        """(B,) what a task says: its head's product of state and item."""
        return self.scores(inputs, (task,))[0]

    def scores(self, inputs: Inputs, tasks: Sequence[int]) -> list[Tensor]:
        """(B,) what each of some tasks says; the history is read once for all."""
        state, item = self._state(inputs), self._item(inputs)
        return [self.heads[at](state, item) for at in tasks]

    def _item(self, inputs: Inputs) -> Tensor:
        """(B, D) the candidate's vector: the sum of its views."""
        views = slice(self._query(inputs) + 1, None)
        return torch.where(inputs.present[:, views, None], inputs.values[:, views], 0).sum(1)

    def _query(self, inputs: Inputs) -> int:
        """The slot of the query."""
        return inputs.values.shape[1] - 1 - self.views.slots

    def _state(self, inputs: Inputs) -> Tensor:
        """(B, D) the user's state; where rows are of known sources, each is read once."""
        if inputs.source is None or self.watching is not None:
            state: Tensor = self.norm(self._read(inputs).after[-1])
            return state
        first, where = distinct(inputs.source, inputs.present[:, : self._query(inputs)])
        return self._state(inputs.rows(first).from_source(None))[where]

    def _read(self, inputs: Inputs, whole: bool = False) -> Read:
        """What the layers make of the S = L + P + 1 slots of the user; the query is the last.

        The last layer's attention is the query's alone, (B, H, 1, S), unless the whole is wanted.
        """
        query = self._query(inputs)
        length = query - self.data_module.profile.values.shape[1]
        present = inputs.present[:, : query + 1]
        values = torch.where(present[..., None], inputs.values[:, : query + 1], 0)
        sees = torch.tensor([length], device=values.device)
        watching = self.watching
        read = self._run(values, present, length, sees, whole or watching is not None)
        if watching is not None:
            watching.append(Watched(read.maps, 0, inputs.values.shape[1]))
        return read

    def _run(
        self, values: Tensor, present: Tensor, length: int, sees: Tensor, whole: bool = False
    ) -> Read:
        """Run the layers on [events, profile, queries]; query q looks at the first sees[q] events.

        Events look at earlier events, themselves and the profile; a profile value at the profile;
        a query at its events, the profile and itself. So no query hears of a later event, and the
        last layer is spared what no query asks for, unless the whole is wanted.
        """
        memory = values.shape[1] - len(sees)
        counts = torch.tensor([length, memory - length, len(sees)], device=values.device)
        kind = self.kind.weight.repeat_interleave(counts, dim=0)
        # Item vectors begin at length 1, as products want them; layers read them at deviation 1.
        hidden = self.drop(math.sqrt(values.shape[-1]) * (values + kind))
        allowed, distance = _layout(length, memory - length, sees)
        itself = torch.eye(*allowed.shape, dtype=torch.bool, device=values.device)
        itself[memory:, memory] = True
        there = functional.pad(present[:, None, :memory], (0, 1))
        allowed = allowed & there | itself
        maps, after = [], [hidden[:, -1]]
        for layer in self.layers:
            last = layer is self.layers[-1] and not whole
            hidden, attention = layer(hidden, allowed, distance, memory if last else 0)
            maps.append(attention)
            after.append(hidden[:, -1])
        return Read(hidden, maps, after)

    def attend(self, inputs: Inputs) -> list[Tensor]:
        """Attention of each layer (B, H, F, F). Candidate slots attend to themselves alone."""
        slots = inputs.values.shape[1]
        return [among(slots, 0, each) for each in self._read(inputs, whole=True).maps]

    def exchanged(self, inputs: Inputs, items: Tensor) -> Inputs:
        """The same inputs with the slots of other items (B,) for the candidate's."""
        views, real = self.views(self.texts, items)
        own = slice(0, self._query(inputs) + 1)
        features = inputs.features
        key = torch.cat([features.key[:, own], self.views.keys(items)], dim=1)
        return Inputs(
            torch.cat([inputs.values[:, own], views], dim=1),
            torch.cat([inputs.present[:, own], real], dim=1),
            replace(features, key=key),
            inputs.rivals,
            item=items,
        )

    def choices(self, inputs: Inputs, items: Tensor) -> Tensor:
        """(B, K) what the model says of items (B, K): the history is read once for all."""
        return self._of_items(self._state(inputs), items)

    def compared(self, inputs: Inputs, items: Tensor) -> Tensor:
        """(B, 1 + K) of the candidate and of items (B, K): the history is read once for all."""
        state = self._state(inputs)
        own = self._first(state, self._item(inputs))
        return torch.cat([own[:, None], self._of_items(state, items)], dim=1)

    def by_layer(self, inputs: Inputs, items: Tensor) -> list[Tensor]:
        """(B, K) of items (B, K) before any layer, and after each."""
        return [self._of_items(self.norm(state), items) for state in self._read(inputs).after]

    @property
    def layers_read(self) -> Sequence[nn.Module]:
        """The transformer's layers; the last gives the query's state alone."""
        return list(self.layers)

    def text_part(self, items: Tensor, text: Tensor) -> Tensor:
        """(B, D) what texts (B, E) add to the vectors of items (B,)."""
        return self.views.by_text(self.texts, items, text)

    @property
    def reads_with(self) -> LanguageModel | None:
        """The language model, where it learned with this model."""
        return None if self.reading is None else self.reading.language

    def _of_items(self, state: Tensor, items: Tensor) -> Tensor:
        """(B, K) the first task's product of states (B, D) with items (B, K).

        Where these are a good part of the catalogue, the whole of it is the quicker product.
        """
        head, vectors = self._first, self.items()
        if len(vectors) <= MANY * items.shape[1]:
            return (head.query(state) @ vectors.T + head.bias).gather(1, items)
        found: Tensor = head(state[:, None], functional.embedding(items, vectors))
        return found

    def catalogue(self, batch: Batch) -> Tensor:
        """(B, N + 1) logits: one matrix product of the states with the item vectors."""
        head = self._first
        return head.query(self._state(self.embed(batch))) @ self.items().T + head.bias

    @property
    def _first(self) -> Product:
        head = self.heads[0]
        assert isinstance(head, Product)
        return head

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of each task that learns, over every learned event of a window."""
        assert batch.negatives is not None
        assert batch.learned is not None
        assert batch.truth is not None
        reading = self.reading
        items = self.items(None if reading is None else reading.anew(self.texts, batch.history))
        events, rivals = (functional.embedding(x, items) for x in (batch.history, batch.negatives))
        since = int(batch.learned.any(0).int().argmax())
        learned, losses = batch.learned[:, since:], {}
        for at, said, each in self._by_task(batch, events, rivals, since):
            if each is not None:
                losses[self.tasks[at].name] = each[learned].mean()
            else:
                truth = batch.truth[:, since:, at][learned]
                losses[self.tasks[at].name] = regress(self.tasks[at], said[learned], truth)
        return losses

    @property
    def mappable(self) -> bool:
        """Unless a language model reads texts meanwhile: how much it reads depends on the batch."""
        return self.reading is None

    def mapped_loss(self, batch: Batch) -> dict[str, Tensor]:
        """`loss` for windows that learn from their later half alone, as `Data.windows` cuts them.

        Items are fused from their views one by one where that is less work than the whole
        catalogue, which all units that are mapped over share.
        """
        assert batch.negatives is not None
        assert batch.learned is not None
        assert batch.truth is not None
        length = batch.history.shape[1]
        asked = torch.cat([batch.history, batch.negatives], dim=1)
        vectors = self._vectors(asked)
        since = length - max(1, length // 2)
        learned, losses = batch.learned[:, since:], {}
        for at, said, each in self._by_task(batch, vectors[:, :length], vectors[:, length:], since):
            if each is not None:
                count = learned.sum().clamp(min=1)
                losses[self.tasks[at].name] = torch.where(learned, each, 0).sum() / count
            else:
                truth = torch.where(learned, batch.truth[:, since:, at], torch.nan)
                losses[self.tasks[at].name] = regress(self.tasks[at], said, truth)
        return losses

    def _vectors(self, items: Tensor) -> Tensor:
        """(…, D) the vectors of items (…)."""
        if SHARED * items.numel() >= len(self.texts):
            return functional.embedding(items, self.items())
        vectors, present = self.views(self.texts, items)
        return (vectors * present[..., None]).sum(-2)

    def _by_task(
        self, batch: Batch, events: Tensor, rivals: Tensor, since: int
    ) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """For each task that learns: its place, what it says, and of those that rank their loss.

        One pass reads the prefixes of the windows from event `since` on: query t sees the events
        before t. events (B, L, D) and rivals (B, N, D) are the vectors of all of the windows' and
        of their negatives; what is said, and lost, is of each event from `since` on.
        """
        state, after = self._states(batch, events, since), events[:, since:]
        for at in self.learned:
            task, head = self.tasks[at], self.heads[at]
            assert isinstance(head, Product)
            said = head(state, after)
            if task.ranks:
                negative = head.query(state) @ rivals.transpose(1, 2) + head.bias
                yield at, said, contrast(task, said, negative)
            else:
                yield at, said, None

    def _states(self, batch: Batch, events: Tensor, since: int) -> Tensor:
        """(B, L - since, D) states before each event of a window from `since` on.

        events (B, L, D) are the vectors of all of the window's.
        """
        length = events.shape[1]
        sees = torch.arange(since, length, device=events.device)
        profile = self.profile(batch.profile)
        queries = self.query.expand(len(batch), len(sees), -1)
        values = torch.cat([events, profile, queries], dim=1)
        there = torch.ones_like(queries[..., 0], dtype=torch.bool)
        present = torch.cat([batch.history > 0, batch.profile > 0, there], dim=1)
        hidden = self._run(values, present, length, sees).hidden
        states: Tensor = self.drop(self.norm(hidden[:, -len(sees) :]))
        return states


def _layout(length: int, profiles: int, sees: Tensor) -> tuple[Tensor, Tensor]:
    """Which slot may look at which, and how far back it looks: (S, M + 1) bool and int64.

    Columns are the M = L + P slots that others look at, and the query itself. Distances: 0 from a
    slot to itself, d to the d-th last event, -1 to a profile value.
    """
    device, memory = sees.device, length + profiles
    at = torch.arange(length, device=device)
    events = torch.cat([at, torch.zeros(profiles, dtype=torch.long, device=device), sees])
    row = torch.arange(len(events), device=device)
    is_profile = (row >= length) & (row < memory)
    back = events[:, None] - at[None, :]
    sees_event = torch.where(row[:, None] >= memory, back > 0, back >= 0) & ~is_profile[:, None]
    allowed = torch.zeros(len(events), memory + 1, dtype=torch.bool, device=device)
    allowed[:, :length] = sees_event
    allowed[:, length:memory] = True
    distance = torch.zeros_like(allowed, dtype=torch.long)
    distance[:, :length] = back.clamp(min=0)
    distance[:, length:memory] = -1
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

    def forward(
        self, hidden: Tensor, allowed: Tensor, distance: Tensor, start: int
    ) -> tuple[Tensor, Tensor]:
        """What slots hidden (B, S, D) become, from slot `start` on, and how these look at others.

        The first M slots are looked at by any that is allowed to, allowed (B, S, M + 1), at a
        distance (S, M + 1); the last column is a later slot's look at itself, which no other sees.
        Attention is (B, H, S - start, M + 1).
        """
        memory = distance.shape[1] - 1
        size = (*hidden.shape[:2], self.heads, -1)
        q, k, v = (
            part.view(size).transpose(1, 2)
            for part in self.qkv(self.before_attention(hidden)).chunk(3, dim=-1)
        )
        row = torch.where(distance < 0, self.furthest + 1, distance.clamp(max=self.furthest))
        bias = self.distance(row[start:]).permute(2, 0, 1)
        own = functional.pad((q * k)[:, :, memory:].sum(-1), (memory, 0))[:, :, start:, None]
        logits = torch.cat([q[:, :, start:] @ k[:, :, :memory].transpose(-1, -2), own], dim=-1)
        logits = logits / math.sqrt(q.shape[-1]) + bias
        attention = logits.masked_fill(~allowed[:, None, start:], -torch.inf).softmax(-1)
        read = attention[..., :-1] @ v[:, :, :memory] + attention[..., -1:] * v[:, :, start:]
        hidden = hidden[:, start:] + self.drop(self.out(read.transpose(1, 2).flatten(2)))
        return hidden + self.drop(self.feed(self.before_feed(hidden))), attention


@hookimpl
def xrec_models() -> dict[str, type]:
    """Offer the sequential model."""
    return {"sequential": Sequential}
