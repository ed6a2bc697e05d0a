"""Counterfactuals: the fewest past events without which a recommendation would be another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice
from typing import ClassVar

import torch
from torch import Tensor

from xrec import hookimpl
from xrec.data.features import BEHAVIOUR
from xrec.explain.explanation import Explanation
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.removal import Removal
from xrec.explain.target import Target, lead
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

BLOCK = 256  # sets of a row that are asked about at once, before any answer is looked at
Set = tuple[int, ...]  # of events, by their slots


@dataclass(frozen=True)
class Counterfactual:
    """The smallest set of past events whose removal moves the item across the k-th place.

    An item among the first k of itself and `inputs.rivals` is to go out, one that is not to come
    in (after Ghazimatin et al., 2020, and Tran et al., 2021). A set is found greedily: events in
    the order of what each alone, when removed, does to the lead over the k-th rival; as many of
    the first as it takes; then those that turn out not to be needed are put back. After that all
    smaller sets are tried, by size, and the first that does it as well is taken instead.

    Options: k; evaluations, the most sets a row that are tried after the greedy ones, of which
    there are at most three times as many as events.

    The members of a set share equally what the target loses without them, as each is needed; the
    base is the target without them. Where no set is found all is 0, and the base is the score. The
    error is 0 where the answer is proven, as all smaller sets were tried, or all there are; else it
    is NaN, not known.
    """

    budget: ClassVar[str] = "evaluations"

    excused: ClassVar[dict[str, str]] = {
        "linear": "it tells of the few events that make the difference, and of no others",
        "symmetry": "where one of two events that are alike is enough, it names one",
    }

    k: int = 10
    evaluations: int = 1000

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k is {self.k}, it must be at least 1")
        if self.evaluations < 0:
            raise ValueError(f"evaluations is {self.evaluations}, it must be at least 0")

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Search for all rows at once. Raises XrecError where the inputs name no rivals."""
        with probe(model) as cost, torch.no_grad():
            search = Search(Game(model, inputs, lead(self.k)))
            search.greedily()
            search.prove(self.evaluations)
            removal = search.removal(self.k)
            game = Game(model, inputs, target)
            score, without = game.everything(), game.value(~removal.members[:, None])[:, 0]
            base = torch.where(removal.found, without, score)
            values = _shares(inputs, removal) * (score - base)[:, None]
        told = (inputs, values, score, base, cost, "counterfactual")
        return Explanation.of(*told, removal.error.to(score), removal=removal)


def _shares(inputs: Inputs, removal: Removal) -> Tensor:
    """(B, F) what share of the whole each slot has: events alike, and the parts of each alike."""
    parts = inputs.features.gathered(removal.members.to(inputs.values.dtype))
    events = (parts > 0).sum(1, keepdim=True)
    shares = 1 / (events * parts.gather(1, inputs.features.whole))
    return torch.where(removal.members, shares, 0)


class Search:
    """Looks for sets of events without which the lead of each row's item is on the other side of 0.

    found: the smallest set known of each row. proven: whether no smaller one exists, or none at
    all. asked: how many sets were tried.
    """

    def __init__(self, game: Game) -> None:
        inputs = game.inputs
        self.game = game
        self.slots = inputs.players & (inputs.features.group == BEHAVIOUR)
        self.lead = game.everything()
        self.inside = self.lead >= 0
        there = inputs.features.gathered(self.slots.long()) > 0
        self.events = [each.nonzero()[:, 0].tolist() for each in there]  # strongest first, later
        # With fewer rivals than places, nothing can take the item's.
        self.rows = (~self.lead.isposinf()).nonzero()[:, 0].tolist()
        self.found: dict[int, Set] = {}
        self.proven = [row not in self.rows for row in range(len(inputs))]
        self.asked = [0] * len(inputs)

    def greedily(self) -> None:
        """Find a set for each row by what events do alone, if that shows one."""
        self._alone()
        left = [row for row in self.rows if row not in self.found]
        tries = {row: [tuple(self.events[row][:n]) for n in self._sizes(row)] for row in left}
        for row, crossed in self._crossed(tries).items():
            if any(crossed):
                self.found[row] = tries[row][crossed.index(True)]
        self._put_back([row for row in left if row in self.found])

    def _sizes(self, row: int) -> range:
        """The sizes of sets that are not known from their members alone."""
        return range(2, len(self.events[row]) + 1)

    def _alone(self) -> None:
        """Remove each event alone, and order them by what that does.

        If any is enough, the first is.
        """
        leads = self._leads({row: [(event,) for event in self.events[row]] for row in self.rows})
        for row, each in leads.items():
            order = each.argsort(descending=not self.inside[row], stable=True)
            self.events[row] = [self.events[row][at] for at in order.tolist()]
            if any(self._crosses(row, each)):
                self.found[row] = (self.events[row][0],)

    def _put_back(self, rows: Sequence[int]) -> None:
        """Take out of the sets found, weakest first, what they do without.

        The last one is needed, as the greedy search stopped at it; and no event is enough alone.
        """
        doubtful = {row: self.found[row][-2::-1] for row in rows}
        for step in range(max(map(len, doubtful.values()), default=0)):
            tries = {
                row: [tuple(event for event in self.found[row] if event != events[step])]
                for row, events in doubtful.items()
                if step < len(events) and len(self.found[row]) > 2
            }
            for row, (crossed,) in self._crossed(tries).items():
                if crossed:
                    self.found[row] = tries[row][0]

    def prove(self, evaluations: int) -> None:
        """Try all sets smaller than those found, by size, up to so many a row.

        The first set that does it is as small as any, as all smaller ones were tried before it.
        """
        waiting = {row: self._smaller(row) for row in self.rows}
        left = evaluations
        while waiting:
            # One more than may be tried tells whether those were all.
            blocks = {row: list(islice(sets, min(BLOCK, left))) for row, sets in waiting.items()}
            crossings = self._crossed(blocks)
            left -= min(BLOCK, left)
            for row, crossed in crossings.items():
                more = next(waiting[row], None)
                if any(crossed):
                    self.found[row] = blocks[row][crossed.index(True)]
                self.proven[row] = any(crossed) or more is None
                if self.proven[row] or not left:
                    del waiting[row]
                else:
                    assert more is not None
                    waiting[row] = chain([more], waiting[row])

    def _smaller(self, row: int) -> Iterator[Set]:
        """All sets of two events or more that are smaller than the one found, if any was."""
        found = self.found.get(row)
        sizes = self._sizes(row) if found is None else range(2, len(found))
        return chain.from_iterable(combinations(self.events[row], size) for size in sizes)

    def _crossed(self, sets: dict[int, list[Set]]) -> dict[int, list[bool]]:
        """For each row's sets, whether the item is on the other side without them."""
        leads = self._leads(sets)
        return {row: self._crosses(row, each) for row, each in leads.items()}

    def _crosses(self, row: int, leads: Tensor) -> list[bool]:
        crossed: list[bool] = (leads >= 0).ne(bool(self.inside[row])).tolist()
        return crossed

    def _leads(self, sets: dict[int, list[Set]]) -> dict[int, Tensor]:
        """The leads without each of the sets, of each row."""
        flat = [(row, each) for row, some in sets.items() for each in some]
        device = self.slots.device
        rows = torch.tensor([row for row, _ in flat], dtype=torch.long, device=device)
        taken = torch.zeros(len(flat), self.slots.shape[1], dtype=torch.bool, device=device)
        at = [(place, event) for place, (_, each) in enumerate(flat) for event in each]
        taken[tuple(torch.tensor(at, dtype=torch.long, device=device).view(-1, 2).T)] = True
        whole = self.game.inputs.features.whole[rows]
        leads = self.game.each(rows, ~(taken.gather(1, whole) & self.slots[rows])).cpu()
        for row, some in sets.items():
            self.asked[row] += len(some)
        sizes = [len(some) for some in sets.values()]
        return dict(zip(sets, leads.split(sizes) if sizes else (), strict=True))

    def removal(self, k: int) -> Removal:
        """What was found."""
        device, members = self.slots.device, torch.zeros_like(self.slots)
        for row, found in self.found.items():
            members[row, list(found)] = True
        members = members.gather(1, self.game.inputs.features.whole) & self.slots
        proven = torch.tensor(self.proven, dtype=torch.bool, device=device)
        asked = torch.tensor(self.asked, dtype=torch.long, device=device)
        return Removal(k, members, self.inside, proven, asked)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer counterfactuals."""
    return {"counterfactual": Counterfactual}
