"""Names for all that may matter: users, items, attribute values, and the slots of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl
import torch
from torch import Tensor
from torch.nn.functional import pad

from xrec.errors import RunError, nearest

#: Groups of features; a slot's group is its index here. "fixed" slots are never attributed.
GROUPS = ("fixed", "behaviour", "profile", "item", "social", "text", "image", "audio")
FIXED, BEHAVIOUR, PROFILE, ITEM, SOCIAL, TEXT, IMAGE, AUDIO = range(len(GROUPS))

OTHER = "other"  # what a feature is called that is told by its group alone


class Vocabulary:
    """Ids and their indices, from 1; index 0 is padding, or unknown."""

    def __init__(self, ids: Iterable[str], noun: str) -> None:
        self.ids = ["", *ids]
        self.noun = noun
        self._index = {name: at for at, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, name: str) -> int:
        """The index of an id. Raises RunError, with the nearest id, if there is no such one."""
        if name not in self._index or not name:
            raise RunError(f"there is no {self.noun} '{name}': {nearest(name, self.ids[1:50])}")
        return self._index[name]


@dataclass(frozen=True)
class Attributes:
    """Attribute values of users or items.

    values (N + 1, K) int64: the value in each of K slots for each of N ids, 0 where there is none.
    names: the name of each value, such as "occupation: student"; names[0] is "".
    fields: the attribute that each of the K slots holds.
    """

    values: Tensor
    names: tuple[str, ...]
    fields: tuple[str, ...]

    @classmethod
    def of(cls, frame: pl.DataFrame, ids: Vocabulary, key: str, leave: Sequence[str]) -> Attributes:
        """Read the columns of `frame` but `leave`; its rows are found by `key`."""
        rows = pl.DataFrame({key: ids.ids}).join(frame, on=key, how="left", maintain_order="left")
        names, slots, columns = [""], [], []
        for column in (c for c in frame.columns if c not in leave):
            lists = rows[column]
            if lists.dtype != pl.List(pl.String):
                lists = rows.select(pl.concat_list(column).alias(column))[column]
            known = sorted(set(lists.explode().drop_nulls().to_list()))
            index = {value: len(names) + at for at, value in enumerate(known)}
            names += [f"{column}: {value}" for value in known]
            filled = [
                [index[v] for v in dict.fromkeys(row or ()) if v is not None]
                for row in lists.to_list()
            ]
            width = max((len(row) for row in filled), default=0)
            columns += [torch.tensor([row + [0] * (width - len(row)) for row in filled])]
            slots += [column] * width
        values = torch.cat(columns, dim=1) if slots else torch.zeros(len(ids), 0)
        return cls(values.long(), tuple(names), tuple(slots))


@dataclass(frozen=True)
class FeatureIndex:
    """What each slot of each row is.

    group (B, F) int64: index into GROUPS.
    key (B, F) int64: which member of its group, an index into names[group]. That of an event is its
        item.
    parent (B, F) int64: the slot that it is part of (a word's event), -1 if none. A slot that has
        parts is present itself only for what it has beside them.
    names: for each group, the names of its members.
    place (B, F) int64, optional: where each slot stands, for models that read them in an order; the
        first ones may stand nowhere, -1, in all rows alike.
    """

    group: Tensor
    key: Tensor
    parent: Tensor
    names: Mapping[int, Sequence[str]]
    place: Tensor | None = None

    @property
    def fixed(self) -> Tensor:
        """(B, F) bool: slots that are always present and never attributed."""
        return self.group == FIXED

    def rows(self, index: Tensor | slice) -> FeatureIndex:
        """Some of the rows, in the order of `index`."""
        return self._each(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> FeatureIndex:
        """The same index on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> FeatureIndex:
        group, key, parent = (change(t) for t in (self.group, self.key, self.parent))
        place = None if self.place is None else change(self.place)
        return FeatureIndex(group, key, parent, self.names, place)

    @property
    def unplaced(self) -> int:
        """How many slots come before those that stand at a place; only where some do."""
        assert self.place is not None
        return int((self.place[0] < 0).sum())

    def wide(self, slots: int) -> FeatureIndex:
        """The same index with slots that are nothing added at the end, `slots` in all."""
        more = (0, slots - self.group.shape[1])
        place = None if self.place is None else pad(self.place, more)
        group, key = pad(self.group, more, value=FIXED), pad(self.key, more)
        return FeatureIndex(group, key, pad(self.parent, more, value=-1), self.names, place)

    @classmethod
    def joined(cls, parts: Sequence[FeatureIndex]) -> FeatureIndex:
        """The rows of several indices of as many slots and the same names."""
        columns = ("group", "key", "parent")
        group, key, parent = (torch.cat([getattr(p, name) for p in parts]) for name in columns)
        places = [part.place for part in parts if part.place is not None]
        place = torch.cat(places) if places else None
        return cls(group, key, parent, parts[0].names, place)

    @property
    def whole(self) -> Tensor:
        """(B, F) int64: the slot that each is part of, or itself."""
        itself = torch.arange(self.parent.shape[1], device=self.parent.device)
        return torch.where(self.parent < 0, itself, self.parent)

    def gathered(self, values: Tensor) -> Tensor:
        """(B, F): values (B, F) with those of parts added to the slots that they are part of."""
        return torch.zeros_like(values).scatter_add(1, self.whole, values)

    def parted(self, values: Tensor, present: Tensor) -> Tensor:
        """(B, F): values (B, F) of whole slots, split evenly among what is present of each.

        That is the slot's parts and itself; the inverse of `gathered`.
        """
        parts = self.gathered(present.long()).gather(1, self.whole)
        return torch.where(present, values.gather(1, self.whole) / parts.clamp(min=1), 0)

    @property
    def items(self) -> Tensor:
        """(B, F) int64: the item of the event that a slot is, or is part of; 0 for other slots."""
        return torch.where(self.group == BEHAVIOUR, self.key.gather(1, self.whole), 0)

    def hidden(self, where: Tensor) -> FeatureIndex:
        """The same slots, of which those where (B, F) is true are called `OTHER`."""
        names = {
            group: known if known and known[-1] == OTHER else (*known, OTHER)
            for group, known in self.names.items()
        }
        last = torch.zeros_like(self.key)
        for group, known in names.items():
            last = torch.where(self.group == group, len(known) - 1, last)
        return replace(self, key=torch.where(where, last, self.key), names=names)

    def name(self, row: int, slot: int) -> str:
        """What a person calls the feature in a slot."""
        group = int(self.group[row, slot])
        return self.names[group][int(self.key[row, slot])]
