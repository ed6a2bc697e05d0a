"""A shop whose customers' choices have known causes.

Each choice is drawn from a rule. What a customer bought lately (recency) makes a category that goes
with it likelier (affinity), and the same one less likely; two categories together make a third
likelier still (interaction); one category puts customers off another (suppressor); and the
customer's stated interest counts. Gift wrap is bought at any time and never matters, nor do colours
or friends (distractors). Within a category every item is as likely as another.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from xrec.fidelity.truth import Truth

THINGS = {
    "camping": ("tent", "sleeping bag", "camp stove", "lantern", "folding chair"),
    "hiking": ("walking boots", "trekking poles", "trail map", "rucksack", "rain jacket"),
    "baking": ("cake tin", "rolling pin", "oven mitt", "mixing bowl", "pastry brush"),
    "tea": ("teapot", "tea towel", "porcelain cup", "tea strainer", "sugar bowl"),
    "gardening": ("watering can", "garden trowel", "flower pot", "pruning shears", "seed box"),
    "reading": ("bookmark", "reading lamp", "book stand", "novel", "magazine rack"),
    "music": ("guitar strap", "metronome", "ukulele", "record player", "sheet music stand"),
    "fitness": ("yoga mat", "skipping rope", "dumbbell", "sweat band", "water bottle"),
    "painting": ("watercolour set", "easel", "brush case", "canvas", "sketch book"),
    "gift wrap": ("wrapping paper", "ribbon", "gift tag", "gift bag", "tissue paper"),
}
CATEGORIES = tuple(THINGS)
DISTRACTOR = CATEGORIES.index("gift wrap")
CHOICES = len(CATEGORIES) - 1  # categories that the rule chooses among
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "purple", "orange")
MAKES = ("small", "sturdy", "plain", "striped", "light", "classic")

WINDOW = 10  # events that can matter: older ones are forgotten
DECAY = 0.95  # of an event's weight with each later event
SAME, GOES_WITH, PUTS_OFF, TOGETHER, INTEREST = -0.6, 1.5, -1.5, 1.0, 3.0
WRAP = 0.15  # chance that any purchase is gift wrap
FIRST_DAY = 1_700_000_000


def _affinity() -> np.ndarray:
    """(categories, CHOICES): what an event of each category adds to the pull of each."""
    pull = np.zeros((len(CATEGORIES), CHOICES))
    for category in range(CHOICES):
        pull[category, category] += SAME
        pull[category, (category + 1) % CHOICES] += GOES_WITH
        pull[category, (category + 4) % CHOICES] += PUTS_OFF
    return pull


AFFINITY = _affinity()


def pull(category: np.ndarray, weight: np.ndarray, interest: np.ndarray) -> np.ndarray:
    """(…, CHOICES) pull of each category on a customer.

    category (…, W) int and weight (…, W) ≥ 0 of the past events, the weight being that of recency,
    or 0 for an event that is not there; interest (…, CHOICES) is the weight of the stated one.
    """
    present = np.eye(len(CATEGORIES))[category] * weight[..., None]
    mass = present.sum(-2)
    total = mass @ AFFINITY + INTEREST * interest
    for a in range(0, CHOICES, 3):  # a and the next but one, together, pull towards a + 6
        total[..., (a + 6) % CHOICES] += TOGETHER * mass[..., a] * mass[..., (a + 2) % CHOICES]
    return total


def log_odds(category: np.ndarray, weight: np.ndarray, interest: np.ndarray) -> np.ndarray:
    """(…, categories) log of how much likelier than chance each category is to come next.

    This is what a recommender trained against items drawn at random learns at best.
    """
    force = pull(category, weight, interest)
    chance = np.exp(force - force.max(-1, keepdims=True))
    chance = (1 - WRAP) * chance / chance.sum(-1, keepdims=True)
    wrap = np.full((*chance.shape[:-1], 1), WRAP)
    return np.log(np.concatenate([chance, wrap], axis=-1) * len(CATEGORIES))


@dataclass(frozen=True)
class PlantedWorld:
    """Options: users, items, events (the mean number a user), seed."""

    users: int = 1000
    items: int = 200
    events: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        if self.users < 2 or self.events < 4:
            raise ValueError("a world needs at least 2 users and 4 events a user")
        if self.items < 10 * len(CATEGORIES):
            raise ValueError(f"items is {self.items}, it must be at least {10 * len(CATEGORIES)}")
        if self.items < 4 * self.events:
            raise ValueError(f"items is {self.items}, it must be at least 4 times events")

    def sources(self) -> Sequence[Path]:
        """None: the world is made from its seed."""
        return ()

    def load(self) -> Tables:
        """The world's tables, the same for the same options."""
        rng = np.random.default_rng(self.seed)
        category = np.arange(self.items) % len(CATEGORIES)
        interest = rng.integers(CHOICES, size=self.users)
        histories = [self._history(rng, category, mine) for mine in interest]
        return Tables(
            interactions=_interactions(histories, rng),
            items=_items(category, rng),
            users=_users(interest, rng),
            relations=_friends(interest, rng),
        ).check("dataset planted")

    def _history(self, rng: np.random.Generator, category: np.ndarray, interest: int) -> list[int]:
        """The items one customer buys, each once, in order."""
        length = int(rng.integers(self.events - self.events // 3, self.events + self.events // 3))
        left = [
            list(rng.permutation(np.flatnonzero(category == c))) for c in range(len(CATEGORIES))
        ]
        mine = np.eye(CHOICES)[interest]
        bought: list[int] = []
        while len(bought) < length:
            past = category[bought[-WINDOW:]].astype(int)
            chance = np.exp(log_odds(past, _recency(len(past)), mine))
            chance *= [bool(items) for items in left]  # nobody buys an item twice
            bought.append(left[rng.choice(len(CATEGORIES), p=chance / chance.sum())].pop())
        return [int(item) for item in bought]

    def truth(self, data: Data, batch: Batch) -> Truth:
        """Exact Shapley values of the log-odds, by enumeration of what can matter.

        The players are the past events, the profile values and the candidate, without which there
        is nothing to score: the value of a coalition is its log-odds if the candidate is in it, and
        0 otherwise. (Where a model spreads the candidate over several slots that add up, the values
        of the others stay the same.)
        """
        kinds = dict(zip(data.tables.items["item"], data.tables.items["category"], strict=True))
        code = np.array([0, *(CATEGORIES.index(kinds[item]) for item in data.items.ids[1:])])
        length = batch.history.shape[1]
        behaviour = torch.zeros(len(batch), length)
        profile = torch.zeros(len(batch), batch.profile.shape[1])
        slot = data.profile.fields.index("interest")
        for row in range(len(batch)):
            events = batch.history[row][batch.history[row] > 0][-WINDOW:].numpy()
            told = data.profile.names[int(batch.profile[row, slot])]
            interest = CATEGORIES.index(told.removeprefix("interest: "))
            values = _shapley(code[events], interest, code[int(batch.candidate[row])])
            behaviour[row, length - len(events) :] = torch.from_numpy(values[:-1]).float()
            profile[row, slot] = float(values[-1])
        return Truth(behaviour, profile)


def _recency(count: int) -> np.ndarray:
    """(count,) weights of the last events, the latest last."""
    return DECAY ** np.arange(count)[::-1]


def _shapley(category: np.ndarray, interest: int, candidate: int) -> np.ndarray:
    """(n + 1,) exact Shapley values of n events and the interest; the candidate plays too."""
    n = len(category) + 1
    inside = np.array(list(product((False, True), repeat=n)))  # the first player is the top bit
    weight = inside[:, :-1] * _recency(n - 1)
    kinds = np.broadcast_to(category, weight.shape)
    mine = inside[:, -1:] * np.eye(CHOICES)[interest]
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


def _interactions(histories: list[list[int]], rng: np.random.Generator) -> pl.DataFrame:
    rows = [(f"u{user}", f"i{item}") for user, items in enumerate(histories) for item in items]
    times = [FIRST_DAY + np.cumsum(rng.integers(60, 86_400, size=len(h))) for h in histories]
    return pl.DataFrame(
        {
            "user": [user for user, _ in rows],
            "item": [item for _, item in rows],
            "time": np.concatenate(times).astype(np.int64),
            "value": np.ones(len(rows)),
            "action": ["buy"] * len(rows),
        }
    )


def _items(category: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    colour = rng.choice(COLOURS, size=len(category))
    titles = []
    for at, kind in enumerate(category):
        things = THINGS[CATEGORIES[kind]]
        turn = at // len(CATEGORIES)
        make = MAKES[(turn // len(things)) % len(MAKES)]
        titles.append(f"{make} {colour[at]} {things[turn % len(things)]}")
    return pl.DataFrame(
        {
            "item": [f"i{at}" for at in range(len(category))],
            "title": titles,
            "text": [f"{t}, for {CATEGORIES[c]}" for t, c in zip(titles, category, strict=True)],
            "category": [CATEGORIES[c] for c in category],
            "colour": colour.tolist(),
        }
    )


def _users(interest: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": [f"u{at}" for at in range(len(interest))],
            "interest": [CATEGORIES[each] for each in interest],
            "favourite_colour": rng.choice(COLOURS, size=len(interest)).tolist(),
        }
    )


def _friends(interest: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """Three friends each, mostly of the same interest; both directions are listed."""
    pairs = set()
    for user, mine in enumerate(interest):
        alike = interest == mine if rng.random() < 0.7 else np.ones_like(interest, dtype=bool)
        others = np.setdiff1d(np.flatnonzero(alike), [user])
        for friend in rng.choice(others, size=min(3, len(others)), replace=False):
            pairs |= {(user, int(friend)), (int(friend), user)}
    rows = [(f"u{a}", "friend", f"u{b}") for a, b in sorted(pairs)]
    return pl.DataFrame(rows, schema=["subject", "predicate", "object"], orient="row")


@hookimpl
def xrec_datasets() -> dict[str, type]:
    """Offer the planted world."""
    return {"planted": PlantedWorld}
