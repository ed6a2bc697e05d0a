"""What an amortised explainer learns from: rows, coalitions of them, and what those are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.explain.amortiser import Slots
from xrec.explain.game import Game
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

STAGES = ("validate", "test")  # whose histories are used; what followed them is not
AT_ONCE = 128  # rows asked of at once


def parted(data: Data, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Users to learn from, and a share of them held out, two of each at least."""
    generator = torch.Generator().manual_seed(seed)
    users = 1 + torch.randperm(len(data.users) - 1, generator=generator)
    count = min(max(2, round(share * len(users))), len(users) - 2)
    return users[count:], users[:count]


@torch.no_grad()
def asked(model: Recommender, data: Data, users: Tensor, seed: int) -> Batch:
    """A row of each user (B,): a history of theirs, and an item that might be explained.

    Every other item is drawn from what the model would recommend, and the rest from all.
    """
    generator = torch.Generator().manual_seed(seed)
    stage = STAGES[seed % len(STAGES)]
    batch = data.queries(stage, users).to(model.device)
    anything = torch.randint(1, len(data.items), (len(users),), generator=generator)
    scores = torch.cat([model.catalogue(batch.rows(at)) for at in _split(len(users))])
    scores[:, 0] = -torch.inf
    likely = torch.multinomial(scores.double().softmax(1).cpu(), 1, generator=generator)[:, 0]
    drawn = torch.where(torch.arange(len(users)) % 2 > 0, likely, anything)
    return batch.about(drawn.to(model.device))


def _split(count: int) -> list[slice]:
    return [slice(at, at + AT_ONCE) for at in range(0, count, AT_ONCE)]


@dataclass(frozen=True)
class Lessons:
    """Rows, and differences (B, C) between coalitions (B, C, F) and their complements, halved.

    The last coalition is that of all.
    """

    slots: Slots
    coalitions: Tensor
    differences: Tensor

    @classmethod
    def of(cls, model: Recommender, inputs: Inputs, pairs: int, absent: str, seed: int) -> Lessons:
        """Ask of `pairs` coalitions of each row and their complements, every size as likely."""
        generator = torch.Generator().manual_seed(seed)
        coalitions = drawn(inputs.players.cpu(), pairs, generator).to(inputs.values.device)
        differences = []
        for some in _split(len(inputs)):
            mine = coalitions[some]
            game = Game(model, inputs.rows(some), logit, absent)
            one, other = game.value(torch.cat([mine, ~mine], dim=1)).chunk(2, dim=1)
            differences.append((one - other) / 2)
        return cls(Slots.of(inputs), coalitions, torch.cat(differences))

    def __len__(self) -> int:
        return len(self.coalitions)

    @classmethod
    def joined(cls, parts: Sequence[Lessons]) -> list[Lessons]:
        """The same lessons in as few as can be: one for each number of slots."""
        wide: dict[int, list[Lessons]] = {}
        for part in parts:
            wide.setdefault(part.coalitions.shape[2], []).append(part)
        return [
            cls(
                Slots(*(torch.cat(each) for each in zip(*(p.slots for p in some), strict=True))),
                torch.cat([part.coalitions for part in some]),
                torch.cat([part.differences for part in some]),
            )
            for some in wide.values()
        ]


def drawn(players: Tensor, pairs: int, generator: torch.Generator) -> Tensor:
    """(B, pairs + 1, F): coalitions of players (B, F), of 1 to n - 1 of n, and that of all."""
    rows, slots = players.shape
    count = players.sum(1)[:, None, None]
    size = 1 + torch.rand(rows, pairs, 1, generator=generator) * (count - 1).clamp(min=0)
    chance = torch.rand(rows, pairs, slots, generator=generator)
    place = chance.masked_fill(~players[:, None], 2).argsort(2).argsort(2)
    inside = (place < size.floor()) & players[:, None]
    return torch.cat([inside, players[:, None]], dim=1)


class Steps:
    """Batches of lessons in a new order each epoch, by a seed; lessons differ in their width."""

    def __init__(self, lessons: list[Lessons], batch: int, seed: int) -> None:
        self.lessons, self.batch = lessons, batch
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return sum(-(-len(lesson) // self.batch) for lesson in self.lessons)

    def __iter__(self) -> Iterator[tuple[Slots, Tensor, Tensor]]:
        parts = [
            (lesson, index)
            for lesson in self.lessons
            for index in torch.randperm(len(lesson), generator=self.generator).split(self.batch)
        ]
        for at in torch.randperm(len(parts), generator=self.generator).tolist():
            lesson, index = parts[at]
            slots = Slots(*(each[index] for each in lesson.slots))
            yield slots, lesson.coalitions[index], lesson.differences[index]
