"""What somebody who sees an explanation guesses of the history behind it.

An explanation that names a user's events tells them: to read is not to attack. What counts is how
much less is told by one that is released in part. The attacker knows what was recommended, and of
everybody else what they had; where names are not enough they guess what those had who also had
what was recommended. Without names they go by that alone: one with the model at hand could try
which events would give such values, and may find more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from xrec.data.features import BEHAVIOUR, GROUPS
from xrec.data.module import Data
from xrec.fidelity.statistics import bootstrap

GUESSES = 10  # items that are guessed of each user, however much is known
POPULAR = "popularity, seeing nothing"
ALL = "all past events, named"
#: What is released, by the number of past events that are named, those that count most; None: all.
RELEASES: Mapping[str, int | None] = {
    ALL: None,
    "the 3 strongest, named": 3,
    "the strongest, named": 1,
    "without names": 0,
}


def reconstruction(data: Data, rows: pl.DataFrame, seed: int = 0) -> dict[str, Any]:
    """For each release: `precision` and `recall` of the guesses, and the share `named` outright.

    rows: explanations as the run wrote them, a row a contribution. A user's history is all they had
    before what was recommended; each figure is a mean over users with its interval.
    """
    index: dict[str, list[int]] = {}
    for item, title in enumerate(data.titles):
        index.setdefault(title, []).append(item)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in (*RELEASES, POPULAR)}
    for user, item, events in _recommendations(data, rows):
        had = set(data.seen(torch.tensor([user]), "test")[0].nonzero()[:, 0].tolist())
        popular, alike = _others(data, user, item)
        names = [index.get(event, []) for event in events]
        for release, count in RELEASES.items():
            named = _named(names[:count], popular)
            rest = alike[:0] if count is None and named else alike
            found[release].append(_judged(named, rest, had))
        found[POPULAR].append(_judged([], popular, had))
    return {
        name: {
            figure: bootstrap(np.array(column), seed)
            for figure, column in zip(
                ("precision", "recall", "named"), zip(*each, strict=True), strict=True
            )
        }
        for name, each in found.items()
    }


def _recommendations(data: Data, rows: pl.DataFrame) -> Iterator[tuple[int, int, list[str]]]:
    """User, item, and the names of past events, the one that contributed most by size first."""
    for part in rows.partition_by("row", maintain_order=True):
        user, item = data.users.index(part["user"][0]), data.items.index(part["item"][0])
        events = part.filter(pl.col("group") == GROUPS[BEHAVIOUR])
        told = events.sort(pl.col("value").abs(), descending=True, maintain_order=True)
        yield user, item, told["feature"].to_list()


def _others(data: Data, user: int, item: int) -> tuple[Tensor, Tensor]:
    """(N,) items as others had them, most often first; and as those had them who had `item`.

    Without `item` itself, which was recommended as something new.
    """
    events = data.events
    owner = torch.arange(len(data.users)).repeat_interleave(events.start.diff())
    other = owner != user
    common = torch.bincount(events.item[other], minlength=len(data.items)).double()
    also = other & torch.isin(owner, owner[events.item == item])
    together = torch.bincount(events.item[also], minlength=len(data.items)).double()
    together += common / (1 + common.max())  # which decides between equals
    for count in (common, together):
        count[[0, item]] = -1
    return _best(common), _best(together)


def _best(count: Tensor) -> Tensor:
    order = count.argsort(descending=True, stable=True)
    return order[count[order] >= 0]


def _named(names: Sequence[Sequence[int]], popular: Tensor) -> list[int]:
    """The items that names stand for; of several by one name the most popular not yet taken."""
    place = {item: at for at, item in enumerate(popular.tolist())}
    taken: dict[int, None] = {}
    for items in names:
        left = [item for item in items if item not in taken]
        if left:
            taken[min(left, key=lambda item: place.get(item, len(place)))] = None
    return list(taken)


def _judged(named: list[int], guesses: Tensor, had: set[int]) -> tuple[float, float, float]:
    """Precision and recall of the items named and then guessed, and recall of those named."""
    guessed = list(dict.fromkeys([*named, *guesses.tolist()]))[: max(GUESSES, len(named))]
    right = len(had.intersection(guessed))
    return right / len(guessed), right / len(had), len(had.intersection(named)) / len(had)
