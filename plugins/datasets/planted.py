"""A world whose people's choices have known causes: a shop, a video service, a social network.

Each choice is drawn from a rule. What somebody had lately (recency) makes a category that goes with
it likelier (affinity), and the same one less likely; two categories together make a third likelier
still (interaction); one category puts people off another (suppressor); and their stated interest
counts. One category is had at any time and never matters, nor do colours, languages or friends
(distractors). Within a category every item is as likely as another. The words in which this is told
are a dress (`xrec_plugins.datasets.dresses`); the rule does not know them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import factorial
from pathlib import Path

import numpy as np
import polars as pl
import torch

from xrec import hookimpl
from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.data.tables import Tables
from xrec.errors import nearest
from xrec.fidelity.truth import Truth
from xrec_plugins.datasets.dresses import DRESSES, Dress

KINDS = 10  # categories
CHOICES = KINDS - 1  # those that the rule chooses among
DISTRACTOR = CHOICES  # the last

WINDOW = 10  # events that can matter: older ones are forgotten
DECAY = 0.95  # of an event's weight with each later event
SAME, GOES_WITH, PUTS_OFF, TOGETHER, INTEREST = -0.6, 1.5, -1.5, 1.0, 3.0
TRIOS = tuple((a, (a + 2) % CHOICES, (a + 6) % CHOICES) for a in range(0, CHOICES, 3))
IDLE = 0.15  # chance that any event is of the distractor
FIRST_DAY = 1_700_000_000
AT_ONCE = 4096  # people whose choices are drawn together


def _affinity() -> np.ndarray:
    """(categories, CHOICES): what an event of each category adds to the pull of each."""
    pull = np.zeros((KINDS, CHOICES))
    for category in range(CHOICES):
        pull[category, category] += SAME
        pull[category, (category + 1) % CHOICES] += GOES_WITH
        pull[category, (category + 4) % CHOICES] += PUTS_OFF
    return pull


AFFINITY = _affinity()


def pull(category: np.ndarray, weight: np.ndarray, interest: np.ndarray) -> np.ndarray:
    """(…, CHOICES) pull of each category on somebody.

    category (…, W) int and weight (…, W) ≥ 0 of the past events, the weight being that of recency,
    or 0 for an event that is not there; interest (…, CHOICES) is the weight of the stated one.
    """
    present = np.eye(KINDS)[category] * weight[..., None]
    mass = present.sum(-2)
    total = mass @ AFFINITY + INTEREST * interest
    for one, other, towards in TRIOS:
        total[..., towards] += TOGETHER * mass[..., one] * mass[..., other]
    return total


def log_odds(category: np.ndarray, weight: np.ndarray, interest: np.ndarray) -> np.ndarray:
    """(…, categories) log of how much likelier than chance each category is to come next.

    This is what a recommender trained against items drawn at random learns at best.
    """
    force = pull(category, weight, interest)
    chance = np.exp(force - force.max(-1, keepdims=True))
    chance = (1 - IDLE) * chance / chance.sum(-1, keepdims=True)
    idle = np.full((*chance.shape[:-1], 1), IDLE)
    return np.log(np.concatenate([chance, idle], axis=-1) * KINDS)


@dataclass(frozen=True)
class PlantedWorld:
    """Options: users, items, events (the mean number a user), seed; dress: shop, video or social.

    Worlds that differ in their dress alone are one world in other words: who had which item when,
    and why, is the same.
    """

    users: int = 1000
    items: int = 200
    events: int = 24
    seed: int = 0
    dress: str = "shop"

    def __post_init__(self) -> None:
        if self.users < 2 or self.events < 4:
            raise ValueError("a world needs at least 2 users and 4 events a user")
        if self.items < 10 * KINDS:
            raise ValueError(f"items is {self.items}, it must be at least {10 * KINDS}")
        if self.items < 4 * self.events:
            raise ValueError(f"items is {self.items}, it must be at least 4 times events")
        if self.dress not in DRESSES:
            raise ValueError(f"dress is '{self.dress}': {nearest(self.dress, DRESSES)}")

    def sources(self) -> Sequence[Path]:
        """None: the world is made from its seed."""
        return ()

    def load(self) -> Tables:
        """The world's tables, the same for the same options."""
        rng, dress = np.random.default_rng(self.seed), DRESSES[self.dress]
        category = np.arange(self.items) % KINDS
        interest = rng.integers(CHOICES, size=self.users)
        blocks = np.split(interest, range(AT_ONCE, self.users, AT_ONCE))
        histories = [had for block in blocks for had in self._histories(rng, category, block)]
        return Tables(
            interactions=_interactions(histories, dress, rng),
            items=_items(category, dress, rng),
            users=_users(interest, dress, rng),
            relations=_friends(interest, rng),
        ).check("dataset planted")

    def _histories(
        self, rng: np.random.Generator, category: np.ndarray, interest: np.ndarray
    ) -> Iterator[np.ndarray]:
        """The items that each of some people has, each once, in order."""
        kinds = [np.flatnonzero(category == kind) for kind in range(KINDS)]
        some, third = len(interest), self.events // 3
        most = self.events + third  # and one more than anybody has
        stock = np.zeros((some, KINDS, most), dtype=np.int64)  # what each would have first, second…
        luck, length = np.zeros((some, most)), np.zeros(some, dtype=np.int64)
        for one in range(some):  # all draws of one before those of the next, in blocks of any size
            length[one] = rng.integers(self.events - third, most)
            for kind, items in enumerate(kinds):
                stock[one, kind, : len(items)] = rng.permutation(items)[::-1][:most]
            luck[one, : length[one]] = rng.random(length[one])
        chosen = _choices(luck[:, : length.max()], interest, np.array([len(k) for k in kinds]))
        turn = np.take_along_axis(
            np.eye(KINDS, dtype=np.int64)[chosen].cumsum(1), chosen[..., None], 2
        )
        had = stock[np.arange(some)[:, None], chosen, turn[..., 0] - 1]
        return (row[:count] for row, count in zip(had, length, strict=True))

    def truth(self, data: Data, batch: Batch) -> Truth:
        """Exact Shapley values of the log-odds, by enumeration of what can matter.

        The players are the past events, the profile values and the candidate, without which there
        is nothing to score: the value of a coalition is its log-odds if the candidate is in it, and
        0 otherwise. (Where a model spreads the candidate over several slots that add up, the values
        of the others stay the same.)
        """
        dress = DRESSES[self.dress]
        kinds, stated = np.array(dress.kinds(data)), dress.interests(data)
        behaviour = torch.zeros(batch.history.shape)
        profile = torch.zeros(batch.profile.shape)
        slot = data.profile.fields.index(dress.interest)
        for row in range(len(batch)):
            events = batch.history[row][batch.history[row] > 0][-WINDOW:].numpy()
            interest, candidate = stated[int(batch.profile[row, slot])], batch.candidate[row]
            values = _shapley(kinds[events], interest, kinds[int(candidate)])
            behaviour[row, behaviour.shape[1] - len(events) :] = torch.from_numpy(values[:-1])
            profile[row, slot] = float(values[-1])
        return Truth(behaviour, profile)


def _choices(luck: np.ndarray, interest: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(U, T) the categories that people choose one after the other.

    luck (U, T): a number in [0, 1) that decides each choice. items (KINDS,): how many there are of
    each category; nobody has one twice.
    """
    chosen = np.zeros(luck.shape, dtype=np.int64)
    left = np.tile(items, (len(luck), 1))
    for at in range(luck.shape[1]):
        past = chosen[:, max(0, at - WINDOW) : at]
        chance = np.exp(log_odds(past, _recency(past.shape[1]), np.eye(CHOICES)[interest]))
        chance *= left > 0
        sums = (chance / chance.sum(1, keepdims=True)).cumsum(1)
        chosen[:, at] = (sums / sums[:, -1:] <= luck[:, at, None]).sum(1)
        left[np.arange(len(left)), chosen[:, at]] -= 1
    return chosen


def _recency(count: int) -> np.ndarray:
    """(count,) weights of the last events, the latest last."""
    return DECAY ** np.arange(count)[::-1]


def _shapley(category: np.ndarray, interest: int, candidate: int) -> np.ndarray:
    """(n + 1,) exact Shapley values of n events and the interest; the candidate plays too.

    interest is -1 where none is known.
    """
    n = len(category) + 1
    inside = np.array(list(product((False, True), repeat=n)))  # the first player is the top bit
    weight = inside[:, :-1] * _recency(n - 1)
    kinds = np.broadcast_to(category, weight.shape)
    mine = inside[:, -1:] * np.eye(CHOICES)[interest] * (interest >= 0)
    value = log_odds(kinds, weight, mine)[:, candidate]
    # In a game of n + 1 players, where only coalitions with the candidate are worth anything.
    size = inside.sum(1)
    share = np.array([factorial(s + 1) * factorial(n - s - 1) for s in range(n)]) / factorial(n + 1)
    found = np.zeros(n)
    for player in range(n):
        without = np.flatnonzero(~inside[:, player])
        gain = value[without + 2 ** (n - 1 - player)] - value[without]
        found[player] = (share[size[without]] * gain).sum()
    return found


def _interactions(
    histories: list[np.ndarray], dress: Dress, rng: np.random.Generator
) -> pl.DataFrame:
    rows = [(f"u{user}", f"i{item}") for user, items in enumerate(histories) for item in items]
    times = [FIRST_DAY + np.cumsum(rng.integers(60, 86_400, size=len(h))) for h in histories]
    return pl.DataFrame(
        {
            "user": [user for user, _ in rows],
            "item": [item for _, item in rows],
            "time": np.concatenate(times).astype(np.int64),
            "value": np.ones(len(rows)),
            "action": [dress.action] * len(rows),
        }
    )


def _items(category: np.ndarray, dress: Dress, rng: np.random.Generator) -> pl.DataFrame:
    variant = rng.choice(dress.variants, size=len(category)).tolist()
    kinds = [dress.categories[kind] for kind in category]
    titles = []
    for at, kind in enumerate(kinds):
        things, turn = dress.things[kind], at // KINDS
        make = dress.makes[(turn // len(things)) % len(dress.makes)]
        told = {"make": make, "variant": variant[at], "thing": things[turn % len(things)]}
        titles.append(dress.title.format(**told))
    texts = [
        dress.text.format(title=title, kind=kind) for title, kind in zip(titles, kinds, strict=True)
    ]
    names = [f"i{at}" for at in range(len(category))]
    return pl.DataFrame(
        {"item": names, "title": titles, "text": texts, dress.kind: kinds, dress.variant: variant}
    )


def _users(interest: np.ndarray, dress: Dress, rng: np.random.Generator) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": [f"u{at}" for at in range(len(interest))],
            dress.interest: [dress.categories[each] for each in interest],
            dress.taste: rng.choice(dress.variants, size=len(interest)).tolist(),
        }
    )


def _friends(interest: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """Three friends each, mostly of the same interest; both directions are listed."""
    pairs = set()
    everyone = np.arange(len(interest))
    alike = [np.flatnonzero(interest == kind) for kind in range(CHOICES)]
    for user, mine in enumerate(interest):
        among = alike[mine] if rng.random() < 0.7 else everyone
        others = len(among) - 1  # all but this one
        own = np.searchsorted(among, user)
        for place in rng.choice(others, size=min(3, others), replace=False):
            friend = int(among[place + (place >= own)])
            pairs |= {(user, friend), (friend, user)}
    rows = [(f"u{a}", "friend", f"u{b}") for a, b in sorted(pairs)]
    return pl.DataFrame(rows, schema=["subject", "predicate", "object"], orient="row")


@hookimpl
def xrec_datasets() -> dict[str, type]:
    """Offer the planted world."""
    return {"planted": PlantedWorld}
