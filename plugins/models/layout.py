"""How a user's profile and history and a candidate item are laid out as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, FIXED, ITEM, PROFILE, FeatureIndex
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.models.language import LanguageModel

END = "."  # closes every text, so that one does not run into the next


@dataclass(frozen=True)
class Segment:
    """Tokens that belong together: those of a profile value, an event, or the candidate."""

    group: int
    parent: int
    ids: Sequence[int]


class Layout:
    """Token texts of a catalogue and its users, and where each token goes.

    A row reads: opening, profile, history (oldest first), candidate, closing. The opening stands at
    the first places and the closing at the last of `size`, fixed; what is between them ends where
    the closing begins. So a place never depends on what is absent, nor on who else is in the batch,
    and with nothing present all rows are alike. Where a row is too long its oldest events are left
    out, each of them whole.

    Slots, in order: a whole one for each of L events, P profile values and the candidate, which
    have tokens as parts; then T tokens, padded on the right.

    Raises XrecError where a profile and two items do not fit into `size`.
    """

    def __init__(self, language: LanguageModel, data: Data, size: int, item_tokens: int) -> None:
        self.opening, self.closing = language.opening, language.closing
        self.size, self.filler = min(size, language.longest), language.filler
        self.items = [ids[:item_tokens] for ids in language.tokens(_closed(data.texts))]
        self.values = language.tokens(_closed(data.profile.names))
        self.items[0] = self.values[0] = []
        pieces = language.pieces()
        self.titles = len(data.titles)
        self.named = len(data.profile.names)
        self.names = {
            FIXED: pieces,
            BEHAVIOUR: [*data.titles, *pieces],
            PROFILE: [*data.profile.names, *pieces],
            ITEM: ["text", *pieces],
        }
        self.room = self.size - len(self.opening) - len(self.closing)
        self._check(data, item_tokens)

    def _check(self, data: Data, item_tokens: int) -> None:
        profiles = data.profile.values.tolist()
        longest = max(sum(len(self.values[value]) for value in row) for row in profiles)
        needed = self.size - self.room + longest + 2 * item_tokens
        if needed > self.size:
            raise XrecError(
                f"model.tokens: {self.size} are too few for the longest profile ({longest} tokens) "
                f"and two items of {item_tokens}: make it {needed}, or lower model.item_tokens"
            )

    def row(self, profile: Sequence[int], history: Sequence[int], candidate: int) -> list[Segment]:
        """The segments of one row that fit, in the order in which they are read."""
        length = len(history)
        item = Segment(ITEM, length + len(profile), self.items[candidate])
        told = [
            Segment(PROFILE, length + at, self.values[value])
            for at, value in enumerate(profile)
            if value
        ]
        left = self.room - sum(len(segment.ids) for segment in (*told, item))
        events: list[Segment] = []
        for at in range(length - 1, -1, -1):
            ids = self.items[history[at]]
            if not history[at] or len(ids) > left:
                break  # padding, or what is too old
            left -= len(ids)
            events.append(Segment(BEHAVIOUR, at, ids))
        return [*told, *reversed(events), item]

    def left_out(self, batch: Batch) -> Tensor:
        """(B,) int64: how many events of each row do not fit."""
        kept = [
            sum(segment.group == BEHAVIOUR for segment in self.row(*each)) for each in _rows(batch)
        ]
        return (batch.history > 0).sum(1).cpu() - torch.tensor(kept)

    def tokens(self, batch: Batch) -> tuple[Tensor, Tensor, FeatureIndex]:
        """Token ids (B, T), which of them are there (B, T), and what all F slots are."""
        rows = [self._laid(self.row(*each)) for each in _rows(batch)]
        wide = max(len(row) for row in rows)
        blank = (self.filler, FIXED, self.filler, -1, 0)
        padded = [row + [blank] * (wide - len(row)) for row in rows]
        told = torch.tensor(padded, device=batch.user.device)  # (B, T, 5)
        ids, group, key, parent, place = told.unbind(-1)
        lengths = torch.tensor([len(row) for row in rows], device=batch.user.device)
        there = torch.arange(wide, device=batch.user.device) < lengths[:, None]
        whole = self._wholes(batch)
        none = torch.full_like(whole.group, -1)
        features = FeatureIndex(
            torch.cat([whole.group, group], 1),
            torch.cat([whole.key, key], 1),
            torch.cat([none, parent], 1),
            self.names,
            torch.cat([none, place], 1),
        )
        return ids, there, features

    def exchanged(
        self, features: FeatureIndex, items: Tensor
    ) -> tuple[Tensor, Tensor, FeatureIndex]:
        """The same slots with other items' (B,) tokens for the candidate's, and what they are.

        Gives the old slot (B, F) of each new one, -1 where it is new; token ids (B, F); and the
        index. Tokens of the user move as a whole, so that the item ends where the closing begins;
        an item that finds no room is cut off.
        """
        assert features.place is not None
        wholes = features.unplaced
        rows = [
            self._exchanged(row, item, wholes)
            for row, item in zip(_told(features), items.tolist(), strict=True)
        ]
        wide = max(len(row) for row in rows)
        blank = (-1, self.filler, FIXED, self.filler, -1, 0)
        padded = [row + [blank] * (wide - len(row)) for row in rows]
        told = torch.tensor(padded, device=items.device)
        old, ids, group, key, parent, place = told.unbind(-1)
        first = torch.arange(wholes, device=items.device).expand(len(items), -1)

        def both(whole: Tensor, tokens: Tensor) -> Tensor:
            return torch.cat([whole[:, :wholes], tokens], dim=1)

        index = FeatureIndex(
            both(features.group, group),
            both(features.key, key),
            both(features.parent, parent),
            self.names,
            both(features.place, place),
        )
        return both(first, old), both(torch.zeros_like(first), ids), index

    def _exchanged(
        self, row: Sequence[tuple[int, int, int, int]], item: int, wholes: int
    ) -> list[tuple[int, int, int, int, int, int]]:
        """Old slot, id, group, key, parent and place of each token of a row with another item.

        row: group, key, parent and place of each slot; the wholes come first, and the candidate's
        is the last of them.
        """
        tokens = [(at, told) for at, told in enumerate(row) if at >= wholes]
        begin = next(at for at, (_, told) in enumerate(tokens) if told[0] == ITEM)
        opening, user = tokens[: len(self.opening)], tokens[len(self.opening) : begin]
        ids = list(self.items[item])[: self.room - len(user)]
        new = Segment(ITEM, wholes - 1, ids)
        start = self.size - len(self.closing) - len(ids) - len(user)
        moved = [
            (at, self.filler, group, key, parent, start + step)
            for step, (at, (group, key, parent, _)) in enumerate(user)
        ]
        kept = [(at, self.filler, *told) for at, told in opening]
        fresh = [(-1, *each) for each in self._laid([new])[len(self.opening) :]]
        return [*kept, *moved, *fresh]

    def _laid(self, segments: Sequence[Segment]) -> list[tuple[int, int, int, int, int]]:
        """Id, group, key, parent and place of each token of a row."""
        first = {BEHAVIOUR: self.titles, PROFILE: self.named, ITEM: 1}  # keys of pieces
        laid = [(token, FIXED, token, -1, at) for at, token in enumerate(self.opening)]
        at = self.size - len(self.closing) - sum(len(segment.ids) for segment in segments)
        for segment in segments:
            for token in segment.ids:
                key = first[segment.group] + token
                laid.append((token, segment.group, key, segment.parent, at))
                at += 1
        return laid + [(token, FIXED, token, -1, at + n) for n, token in enumerate(self.closing)]

    def _wholes(self, batch: Batch) -> FeatureIndex:
        """The slots that have tokens as parts: L events, P profile values, the candidate."""
        key = torch.cat(
            [batch.history, batch.profile, torch.zeros_like(batch.candidate)[:, None]], 1
        )
        sizes = (batch.history.shape[1], batch.profile.shape[1], 1)
        groups = torch.tensor((BEHAVIOUR, PROFILE, ITEM), device=key.device)
        group = groups.repeat_interleave(torch.tensor(sizes, device=key.device)).expand_as(key)
        return FeatureIndex(group, key, torch.full_like(key, -1), self.names)


def _told(features: FeatureIndex) -> list[list[tuple[int, int, int, int]]]:
    """Group, key, parent and place of each slot of each row."""
    assert features.place is not None
    columns = (features.group, features.key, features.parent, features.place)
    told: list[list[tuple[int, int, int, int]]] = torch.stack(columns, dim=-1).tolist()
    return told


def _closed(texts: Sequence[str]) -> list[str]:
    """Texts with one full stop at their end."""
    return [text.rstrip().rstrip(END) + END for text in texts]


def _rows(batch: Batch) -> zip[tuple[list[int], list[int], int]]:
    return zip(
        batch.profile.tolist(), batch.history.tolist(), batch.candidate.tolist(), strict=True
    )
