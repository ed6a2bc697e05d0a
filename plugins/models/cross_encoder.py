"""A pretrained transformer that reads user and candidate together, and re-ranks what is retrieved.

The texts of the user's profile and history and of the candidate go through the language model as
one text; a linear head makes a logit of it (Nogueira and Cho, 2019). Its slots are tokens, each a
part of its event, so that explanations add up from words to events to groups. As it is too dear to
ask of every item, a `sequential` model, trained beside it in the same run, finds the candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xrec import hookimpl
from xrec.data.batches import Batch
from xrec.data.features import ITEM
from xrec.data.module import Data
from xrec.errors import RecipeError
from xrec.filling import fill
from xrec.models.attention import Watched, among
from xrec.models.encoder import Encoder, Reader
from xrec.models.heads import Linear
from xrec.models.inputs import Inputs
from xrec.models.language import LanguageModel
from xrec.models.recommender import Recommender
from xrec_plugins.models.layout import Layout
from xrec_plugins.models.sequential import Sequential, SequentialRecommender

PAIRS = 128  # user and candidate, read at once where no gradient is needed


@dataclass(frozen=True)
class CrossEncoder:
    """Options.

    tokens: of a user and a candidate, special ones included; the oldest events go where more.
    item_tokens: of an item's text.
    candidates: the items found by the retriever that are re-ranked.
    rows: of a training step's windows, those that it reads.
    retriever: options of the `sequential` model that finds the candidates.
    """

    tokens: int = 256
    item_tokens: int = 24
    candidates: int = 20
    rows: int = 16
    retriever: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tokens", "item_tokens", "candidates", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        self.sequential()

    def sequential(self) -> Sequential:
        """The retriever's options. Raises RecipeError that names what is wrong with them."""
        return fill(Sequential, self.retriever, "model.retriever")

    def build(self, data: Data, texts: Tensor, encoder: Encoder) -> Recommender:
        """A fresh model. Raises RecipeError where the encoder has no language model."""
        if not isinstance(encoder, Reader):
            raise RecipeError(
                "encoder: the model cross_encoder reads tokens, and this encoder has no language "
                "model; choose {name: pretrained, …}"
            )
        retriever = SequentialRecommender(self.sequential(), data, texts)
        return CrossEncoderRecommender(self, data, encoder.language(), retriever)


class CrossEncoderRecommender(Recommender):
    """Slots as `Layout` has them: events, profile values and the candidate, then their tokens."""

    attends: ClassVar[bool] = True

    def __init__(
        self,
        options: CrossEncoder,
        data: Data,
        language: LanguageModel,
        retriever: SequentialRecommender,
    ) -> None:
        super().__init__(data)
        self.settings = options
        self.language, self.retriever = language, retriever
        self.layout = Layout(language, data, options.tokens, options.item_tokens)
        self.heads = nn.ModuleList(
            Linear(language.width, task, data.known(at)) for at, task in enumerate(data.tasks)
        )
        retriever.learned = range(1)  # it finds candidates, and does nothing else

    def notes(self) -> list[str]:
        """How many users' histories are longer than what is read."""
        left = self.layout.left_out(self.data_module.queries("test"))
        if not left.any():
            return []
        return [
            f"Of {len(left):,} users, {int((left > 0).sum()):,} have a history of more than the "
            f"{self.layout.size} tokens that are read at once: their oldest events, "
            f"{left.float().mean():.1f} on average over all users, are left out."
        ]

    def embed(self, batch: Batch) -> Inputs:
        """F = L + P + 1 + T slots; those with parts are absent, their tokens are there."""
        ids, there, features = self.layout.tokens(batch)
        words = self.language.word_vectors(ids)
        wholes = features.group.shape[1] - ids.shape[1]
        none = there.new_zeros(len(there), wholes)
        values = torch.cat([words.new_zeros(*none.shape, words.shape[2]), words], dim=1)
        return Inputs(values, torch.cat([none, there], dim=1), features, item=batch.candidate)

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        """(B,) what a task says: its head's view of the pooled states of the tokens present."""
        return self.scores(inputs, (task,))[0]

    def scores(self, inputs: Inputs, tasks: Sequence[int]) -> list[Tensor]:
        """(B,) what each of some tasks says; the language model reads once for all."""
        given = self._tokens(inputs)
        if self.watching is None:
            states = self.language.states(*given)
        else:
            states, maps = self.language.watched(*given)
            self.watching.append(Watched(maps, self.read_from(inputs), inputs.values.shape[1]))
        pooled = self.language.pooled(states, given[1])
        return [self.heads[at](pooled) for at in tasks]

    def text_vectors(self) -> Tensor:
        """(N + 1, E) those that the retriever reads."""
        return self.retriever.text_vectors()

    def read_from(self, inputs: Inputs) -> int:
        """The first token's slot."""
        return inputs.features.unplaced

    @property
    def layers_read(self) -> Sequence[nn.Module]:
        """The language model's layers."""
        return self.language.layers

    @property
    def shortlist(self) -> int:
        """As many as are re-ranked."""
        return self.settings.candidates

    def exchanged(self, inputs: Inputs, items: Tensor) -> Inputs:
        """The same user's tokens, read before those of other items (B,)."""
        old, ids, features = self.layout.exchanged(inputs.features, items)
        assert features.place is not None
        kept, row = old >= 0, torch.arange(len(old), device=old.device)[:, None]
        at = (row, old.clamp(min=0))
        new = self.language.word_vectors(ids).to(inputs.values)
        values = torch.where(kept[..., None], inputs.values[at], new)
        there = (features.group == ITEM) & (features.parent >= 0)
        closing = features.fixed & (features.place >= self.layout.size - len(self.layout.closing))
        present = torch.where(kept, inputs.present[at], there | closing)
        return Inputs(values, present, features, inputs.rivals, item=items)

    def padding(self, inputs: Inputs) -> Tensor:
        """(B, F, D) the word vector of the token that fills rows."""
        filler = torch.tensor(self.language.filler, device=inputs.values.device)
        return self.language.word_vectors(filler).to(inputs.values).expand_as(inputs.values)

    def by_layer(self, inputs: Inputs, items: Tensor) -> list[Tensor]:
        """(B, K) of items (B, K) from the words alone, and from the states after each layer."""
        found = []
        for column in items.unbind(1):
            given = self._tokens(self.exchanged(inputs, column))
            after = self.language.states_by_layer(*given)
            found.append([self.heads[0](self.language.pooled(each, given[1])) for each in after])
        return [torch.stack(each, dim=1) for each in zip(*found, strict=True)]

    def _tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Vectors, presence, places and types of the tokens; the candidate is the second type."""
        features = inputs.features
        assert features.place is not None
        tokens = (slice(None), slice(self.read_from(inputs), None))
        return (
            inputs.values[tokens],
            inputs.present[tokens],
            features.place[tokens],
            (features.group[tokens] == ITEM).long(),
        )

    def attend(self, inputs: Inputs) -> list[Tensor]:
        """Attention of each layer (B, H, F, F); slots that are no tokens attend to themselves."""
        slots = inputs.values.shape[1]
        return [
            among(slots, slots - attention.shape[-1], attention)
            for attention in self.language.attention(*self._tokens(inputs))
        ]

    def catalogue(self, batch: Batch) -> Tensor:
        """(B, N + 1) logits of the candidates retrieved; the others below them, as retrieved.

        Retrieved are the items that the retriever scores highest among those that may be ranked.
        """
        found = self.retriever.catalogue(batch)
        shown = found.masked_fill(self._had(batch).to(found.device), -torch.inf)
        shown[:, 0] = -torch.inf
        count = min(self.settings.candidates, found.shape[1] - 1)
        best = shown.topk(count, dim=1).indices
        users = torch.arange(len(batch), device=best.device).repeat_interleave(count)
        pairs = batch.rows(users).about(best.flatten())
        scores = torch.cat(
            [self(pairs.rows(slice(at, at + PAIRS))) for at in range(0, len(pairs), PAIRS)]
        ).view(len(batch), count)
        below = found - found.amax(1, keepdim=True) + scores.amin(1, keepdim=True) - 1
        return below.scatter(1, best, scores.to(below))

    def _had(self, batch: Batch) -> Tensor:
        """(B, N + 1) bool: items not worth re-ranking, as they will not be shown."""
        data = self.data_module
        if not data.options.exclude_seen:
            return torch.zeros(len(batch), len(data.items), dtype=torch.bool)
        had = data.seen(batch.user.cpu(), "train")
        return had.scatter(1, batch.history.cpu(), True)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of each task that learns, over some windows, and the retriever's over all.

        Of each of the first windows one learned event is drawn, and of its negatives one, likelier
        the higher the retriever scores it, as it is those that are to be told from what followed.
        """
        some = batch.rows(slice(0, self.settings.rows))
        assert some.learned is not None
        window = some.ending(torch.multinomial(some.learned.float(), 1)[:, 0])
        losses = self.pair_losses(self._harder(window).pairs(self.tasks))
        if any(parameter.requires_grad for parameter in self.retriever.parameters()):
            losses["retrieval"] = next(iter(self.retriever.loss(batch).values()))
        return losses

    def _harder(self, window: Batch) -> Batch:
        """The window with one negative a row, drawn by the retriever's scores."""
        assert window.negatives is not None
        with torch.no_grad():
            scores = self.retriever.catalogue(window.earlier()).gather(1, window.negatives)
        drawn = torch.multinomial(scores.softmax(1), 1)
        return replace(window, negatives=window.negatives.gather(1, drawn))


@hookimpl
def xrec_models() -> Mapping[str, type]:
    """Offer the cross-encoder."""
    return {"cross_encoder": CrossEncoder}
