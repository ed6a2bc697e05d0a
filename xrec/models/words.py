"""A recommender one of whose events is read word by word, its text encoded anew each time."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, FIXED, FeatureIndex
from xrec.errors import XrecError
from xrec.models.inputs import Inputs
from xrec.models.language import LanguageModel
from xrec.models.recommender import Recommender


class WordByWord(Recommender):
    """`model`, with an event of each row opened into the words of its text.

    Slots: the F of the model, then T words, which are parts of their row's event and have their
    word vectors. The event's own slot is what it has beside its text: its identity and attributes.
    A word that is absent is left out where the language model reads the text; its place stays.
    Vectors are as wide as the wider of the two kinds, filled up with zeros.

    language: what made the vectors of the texts; max_tokens: of a text, special ones included.
    """

    def __init__(self, model: Recommender, language: LanguageModel, max_tokens: int) -> None:
        super().__init__(model.data_module)
        self.model, self.language, self.slope = model, language, model.slope
        self.room = min(max_tokens, language.longest) - len(language.opening + language.closing)
        self.pieces = language.pieces()
        nothing = torch.zeros(1, language.width, device=language.device)
        self.width = model.text_part(nothing.new_zeros(1, dtype=torch.long), nothing).shape[1]
        self.train(model.training)

    def embed(self, batch: Batch) -> Inputs:
        """The model's inputs with the latest event of each row opened."""
        inputs = self.model.embed(batch)
        event = (inputs.features.group == BEHAVIOUR) & inputs.present
        order = torch.arange(1, event.shape[1] + 1, device=event.device)
        return self.opened(inputs, torch.where(event, order, 0).argmax(1))

    def opened(self, inputs: Inputs, slot: Tensor) -> Inputs:
        """The model's inputs (B, F, D) with the event in a slot (B,) of each row opened.

        A row whose slot is absent, or no event, has no words. Raises XrecError: the model reads
        words already, or no texts.
        """
        if inputs.features.place is not None:
            raise XrecError(f"the model {type(self.model).__name__} reads events by words already")
        at = slot[:, None] == torch.arange(inputs.present.shape[1], device=slot.device)
        event = (at & inputs.present & (inputs.features.group == BEHAVIOUR)).any(1)
        items = torch.where(event, inputs.features.key.gather(1, slot[:, None])[:, 0], 0)
        ids, there = self._tokens(items)
        words = self.language.word_vectors(ids).to(inputs.values)
        text = self.model.text_part(items, self._text(words, there, there))
        text = torch.where(there.any(1)[:, None], text, 0)
        own = torch.where(at[..., None], inputs.values - text[:, None], inputs.values)
        features = self._features(inputs.features, ids, there, slot)
        return self._joined(replace(inputs, values=own, features=features), words, there)

    def _tokens(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (B, T) of the texts of items (B,), and which are there."""
        texts = [self.data_module.texts[item] for item in items.tolist()]
        ids, there = self.language.padded([row[: self.room] for row in self.language.tokens(texts)])
        return ids, there.bool()

    def _features(
        self, features: FeatureIndex, ids: Tensor, there: Tensor, slot: Tensor
    ) -> FeatureIndex:
        """The model's index with T words added."""
        titles = features.names[BEHAVIOUR]
        place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        first = torch.full_like(features.group, -1)
        return FeatureIndex(
            torch.cat([features.group, torch.where(there, BEHAVIOUR, FIXED)], dim=1),
            torch.cat([features.key, torch.where(there, ids + len(titles), 0)], dim=1),
            torch.cat([features.parent, torch.where(there, slot[:, None], -1)], dim=1),
            {**features.names, BEHAVIOUR: [*titles, *self.pieces]},
            torch.cat([first, place], dim=1),
        )

    def _joined(self, inputs: Inputs, words: Tensor, there: Tensor) -> Inputs:
        """Inputs of F slots, whose index has the words already, with the words' vectors."""
        wide = max(inputs.values.shape[2], words.shape[2])
        both = [functional.pad(each, (0, wide - each.shape[2])) for each in (inputs.values, words)]
        present = torch.cat([inputs.present, there], dim=1)
        return replace(inputs, values=torch.cat(both, dim=1), present=present)

    def _text(self, words: Tensor, real: Tensor, there: Tensor) -> Tensor:
        """(B, E) unit vectors of texts of words (B, T, D), those that are there (B, T) of the real.

        Special tokens stand around the whole text, whatever of it is there.
        """
        special = [
            self.language.word_vectors(torch.tensor(ids, dtype=torch.long, device=words.device))
            .to(words)
            .expand(len(words), -1, -1)
            for ids in (self.language.opening, self.language.closing)
        ]
        always = [there.new_ones(each.shape[:2]) for each in special]
        first = len(self.language.opening)
        place = torch.arange(first + words.shape[1], device=words.device).expand(len(words), -1)
        last = torch.arange(len(self.language.closing), device=words.device)
        ends = first + real.sum(1, keepdim=True) + last
        vectors = torch.cat([special[0], words, special[1]], dim=1)
        present = torch.cat([always[0], there, always[1]], dim=1)
        positions = torch.cat([place, ends], dim=1)
        states = self.language.states(vectors, present, positions, torch.zeros_like(positions))
        return functional.normalize(self.language.pooled(states.to(words), present), dim=-1)

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        """(B,) what the model says with the event as its present words make it."""
        return self.model.score(self.closed(inputs), task)

    def closed(self, inputs: Inputs) -> Inputs:
        """The model's inputs (B, F, D), the words that are there put back into their event."""
        own, slots = self._own(inputs), inputs.features.unplaced
        slot, words = inputs.features.parent[:, slots:], inputs.values[:, slots:]
        there = inputs.present[:, slots:] & (slot >= 0)
        if not there.any():
            return own
        whose = slot.amax(1, keepdim=True)
        items = own.features.key.gather(1, whose.clamp(min=0))[:, 0]
        words = words[..., : self.language.embedding_width]
        text = self.model.text_part(items, self._text(words, slot >= 0, there))
        at = (whose == torch.arange(slots, device=slot.device)) & there.any(1)[:, None]
        values = torch.where((at & ~own.present)[..., None], 0, own.values)
        values = torch.where(at[..., None], values + text[:, None], values)
        return own.with_values(values).with_present(own.present | at)

    def exchanged(self, inputs: Inputs, items: Tensor) -> Inputs:
        """The same users' features, the event's words among them, with other items (B,)."""
        slots, old = inputs.features.unplaced, inputs.features
        other = self.model.exchanged(self._own(inputs), items)
        new = other.features
        group, key, parent = (
            torch.cat([mine, theirs[:, slots:]], dim=1)
            for mine, theirs in (
                (new.group, old.group),
                (new.key, old.key),
                (new.parent, old.parent),
            )
        )
        index = FeatureIndex(group, key, parent, old.names, old.place)
        words, there = inputs.values[:, slots:], inputs.present[:, slots:]
        return self._joined(replace(other, features=index), words, there)

    def _own(self, inputs: Inputs) -> Inputs:
        """The model's own slots, as if there were no words."""
        slots, features = inputs.features.unplaced, inputs.features
        index = FeatureIndex(
            features.group[:, :slots],
            features.key[:, :slots],
            features.parent[:, :slots],
            features.names,
        )
        values = inputs.values[:, :slots, : self.width]
        return Inputs(values, inputs.present[:, :slots], index, inputs.rivals, item=inputs.item)
