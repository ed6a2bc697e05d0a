"""The planted world: its rule by hand, its truth by brute force, and what its tables promise."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.errors import DataError
from xrec.fidelity.truth import Planted, Truth
from xrec.options import DataOptions, TrainOptions
from xrec.testing import small_data
from xrec_plugins.datasets import planted
from xrec_plugins.datasets.dresses import DRESSES, worn
from xrec_plugins.datasets.planted import PlantedWorld, log_odds, pull

SHOP = DRESSES["shop"]
CATEGORIES = SHOP.categories
WRAP = CATEGORIES.index("gift wrap")
WORLD = PlantedWorld(users=30, items=100, events=8)


@pytest.fixture(scope="module")
def data() -> Data:
    return Data(WORLD.load(), DataOptions(history=14), TrainOptions())


# The rule


def test_pull_by_hand():
    """Events of categories 0 and 2, the older at half weight, and an interest in 4."""
    found = pull(np.array([0, 2]), np.array([0.5, 1.0]), np.eye(9)[4])
    same, goes, off = -0.6, 1.5, -1.5
    expected = np.zeros(9)
    expected[[0, 1, 4]] += 0.5 * np.array([same, goes, off])
    expected[[2, 3, 6]] += np.array([same, goes, off])
    expected[6] += 1.0 * 0.5 * 1.0  # 0 and 2 together
    expected[4] += 3.0
    assert found == pytest.approx(expected)


def test_gift_wrap_pulls_at_nothing():
    category, weight = np.array([1, WRAP, 3]), np.array([0.9, 0.95, 1.0])
    without = pull(category[[0, 2]], weight[[0, 2]], np.zeros(9))
    assert pull(category, weight, np.zeros(9)) == pytest.approx(without)


def test_the_rule_is_a_chance_for_each_category():
    rng = np.random.default_rng(0)
    odds = log_odds(rng.integers(10, size=(50, 6)), rng.random((50, 6)), np.eye(9)[[3] * 50])
    chance = np.exp(odds) / 10
    assert odds.shape == (50, 10)
    assert chance.sum(1) == pytest.approx(np.ones(50))
    assert chance[:, WRAP] == pytest.approx(np.full(50, 0.15))


def test_events_are_drawn_by_the_rule():
    """What was bought, less its chance, goes with nothing that was known before.

    Neither with the category, nor with the pull of the interest, of the last three events, of those
    before them, and of those that are forgotten: to four standard errors each. A history drawn by
    another rule, such as one of another window, goes with one of these.
    """
    gaps, variances = np.zeros(14), np.zeros(14)
    for kinds, interest in _histories(PlantedWorld(users=200, items=400, events=15)):
        nothing, mine = np.zeros(9), np.eye(9)[interest]
        for at, kind in enumerate(kinds):
            past, lag = np.array(kinds[:at], dtype=int), np.arange(at)[::-1]
            weight = 0.95**lag
            chance = np.exp(log_odds(past, weight * (lag < 10), mine)) / 10
            known = np.zeros((14, 10))
            known[:10] = np.eye(10)
            known[10, :9] = mine
            known[11, :9] = pull(past, weight * (lag < 3), nothing)
            known[12, :9] = pull(past, weight * ((lag >= 3) & (lag < 10)), nothing)
            known[13, :9] = pull(past, weight * (lag >= 10), nothing)
            gaps += known[:, kind] - known @ chance
            variances += known**2 @ chance - (known @ chance) ** 2
    assert (variances > 10).all()
    assert np.abs(gaps / np.sqrt(variances)).max() < 4


def _histories(world: PlantedWorld) -> list[tuple[list[int], int]]:
    """Each customer's categories, in order, and interest."""
    tables = world.load()
    events = tables.interactions.join(tables.items, on="item").sort("user", "time")
    bought = events.group_by("user").agg("category").join(tables.users, on="user")
    return [
        ([CATEGORIES.index(each) for each in row["category"]], CATEGORIES.index(row["interest"]))
        for row in bought.sort("user").to_dicts()
    ]


# The truth, against permutations


def _scalar_odds(
    events: Sequence[tuple[int, float]], interest: int | None, candidate: int
) -> float:
    """The rule once more, written out for one customer: events are (category, weight)."""
    if candidate == WRAP:
        return math.log(0.15 * 10)
    force, mass = [0.0] * 9, [0.0] * 9
    for kind, weight in events:
        if kind == WRAP:
            continue
        mass[kind] += weight
        force[kind] -= 0.6 * weight
        force[(kind + 1) % 9] += 1.5 * weight
        force[(kind + 4) % 9] -= 1.5 * weight
    for first, second, third in ((0, 2, 6), (3, 5, 0), (6, 8, 3)):
        force[third] += mass[first] * mass[second]
    if interest is not None:
        force[interest] += 3.0
    total = sum(math.exp(each) for each in force)
    return math.log(0.85 * math.exp(force[candidate]) / total * 10)


def _by_permutations(
    players: Sequence[Hashable], value: Callable[[frozenset], float]
) -> dict[Hashable, float]:
    """Shapley values as they are defined: the mean of what each adds, over all orders."""
    known: dict[frozenset, float] = {}
    found = dict.fromkeys(players, 0.0)
    orders = list(permutations(players))
    for order in orders:
        inside: frozenset = frozenset()
        before = known.setdefault(inside, value(inside))
        for player in order:
            inside |= {player}
            if inside not in known:
                known[inside] = value(inside)
            found[player] += known[inside] - before
            before = known[inside]
    return {player: total / len(orders) for player, total in found.items()}


def _item(data: Data, category: int, turn: int = 0) -> int:
    """An item of a category."""
    mine = data.tables.items.filter(pl.col("category") == CATEGORIES[category])["item"]
    return data.items.index(mine[turn])


def _query(data: Data, kinds: Sequence[int], interest: int, candidate: int) -> Batch:
    """One user with an interest who bought items of these categories, the latest last."""
    users = data.tables.users.filter(pl.col("interest") == CATEGORIES[interest])["user"]
    known = [user for user in users if user in data.users.ids]
    user = torch.tensor([data.users.index(known[0])])
    history = torch.zeros(1, data.options.history, dtype=torch.long)
    for at, kind in enumerate(reversed(kinds)):
        history[0, -1 - at] = _item(data, kind, at % 10)
    candidate = torch.tensor([_item(data, candidate)])
    return Batch(user, history, history, history, data.profile.values[user], candidate)


def _slots(data: Data) -> tuple[int, int]:
    """The profile slots of the interest and of the favourite colour."""
    fields = data.profile.fields
    return fields.index("interest"), fields.index("favourite_colour")


def _interests(data: Data) -> list[int]:
    """The interests that some user of the world has."""
    return sorted({CATEGORIES.index(each) for each in data.tables.users["interest"]})


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=4), st.integers(0, 100), st.integers(0, 9))
def test_the_truth_is_exact_shapley_with_the_candidate_as_a_player(
    data: Data, kinds: list[int], interest: int, candidate: int
):
    _check_by_permutations(data, kinds, interest, candidate)


@pytest.mark.parametrize(
    ("kinds", "candidate"), [([0, 2, 0, 9, 2], 6), ([3, 5, 8, 6, 1], 0), ([4, 4, 4, 4, 4], 9)]
)
def test_the_truth_of_five_events(data: Data, kinds: list[int], candidate: int):
    _check_by_permutations(data, kinds, 5, candidate)


def _check_by_permutations(data: Data, kinds: list[int], interest: int, candidate: int) -> None:
    """Each share is that of all orders, and with the candidate's they make up the whole."""
    interest = _interests(data)[interest % len(_interests(data))]
    batch = _query(data, kinds, interest, candidate)
    truth = WORLD.truth(data, batch)
    weights = [0.95**back for back in reversed(range(len(kinds)))]

    def value(inside: frozenset) -> float:
        if "candidate" not in inside:
            return 0.0
        events = [(kinds[at], weights[at]) for at in range(len(kinds)) if at in inside]
        return _scalar_odds(events, interest if "interest" in inside else None, candidate)

    expected = _by_permutations([*range(len(kinds)), "interest", "candidate"], value)
    behaviour = [0.0] * (14 - len(kinds)) + [expected[at] for at in range(len(kinds))]
    slot, _ = _slots(data)
    assert truth.behaviour[0].tolist() == pytest.approx(behaviour, abs=1e-5)
    assert float(truth.profile[0, slot]) == pytest.approx(expected["interest"], abs=1e-5)
    whole = float(truth.behaviour.sum() + truth.profile.sum()) + expected["candidate"]
    everything = log_odds(np.array(kinds, dtype=int), np.array(weights), np.eye(9)[interest])
    assert whole == pytest.approx(float(everything[candidate]), abs=1e-5)


def test_events_of_one_category_and_weight_share_alike(data: Data, monkeypatch: pytest.MonkeyPatch):
    """Without decay the order of events is nothing, and equals contribute the same."""
    monkeypatch.setattr(planted, "DECAY", 1.0)
    truth = WORLD.truth(data, _query(data, [0, 2, 0, 7, 2], 5, 6)).behaviour[0, -5:]
    assert float(truth[0]) == pytest.approx(float(truth[2]), abs=1e-6)
    assert float(truth[1]) == pytest.approx(float(truth[4]), abs=1e-6)
    assert abs(float(truth[0] - truth[3])) > 0.01
    turned = WORLD.truth(data, _query(data, [2, 7, 0, 2, 0], 5, 6)).behaviour[0, -5:]
    assert turned.tolist() == pytest.approx(truth[[1, 3, 0, 1, 0]].tolist(), abs=1e-6)


def test_the_later_of_two_alike_counts_for_more(data: Data):
    truth = WORLD.truth(data, _query(data, [0, 9, 9, 0], 5, 1)).behaviour[0, -4:]
    assert truth[3] > truth[0] > 0


# What contributes nothing at all


def _truth_of_all(data: Data) -> tuple[Batch, Truth]:
    batch = data.queries("test")
    return batch, WORLD.truth(data, batch)


def test_only_the_last_ten_events_matter(data: Data):
    kinds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2]
    truth = WORLD.truth(data, _query(data, kinds, 5, 3)).behaviour[0]
    assert (truth[:-10] == 0).all()
    assert (truth[-10:] != 0).all()
    others = WORLD.truth(data, _query(data, [8, 7, *kinds[2:]], 5, 3)).behaviour[0]
    assert torch.equal(others, truth)


def test_gift_wrap_contributes_exactly_nothing(data: Data):
    kinds = [3, 9, 0, 9, 2, 9]
    truth = WORLD.truth(data, _query(data, kinds, 5, 6)).behaviour[0, -6:]
    assert (truth == 0).tolist() == [kind == WRAP for kind in kinds]


def test_nothing_leads_to_gift_wrap(data: Data):
    truth = WORLD.truth(data, _query(data, [3, 9, 0, 9, 2], 5, WRAP))
    assert (truth.behaviour == 0).all()
    assert (truth.profile == 0).all()


def test_of_all_real_queries_only_causes_have_a_truth(data: Data):
    batch, truth = _truth_of_all(data)
    kinds = dict(zip(data.tables.items["item"], data.tables.items["category"], strict=True))
    interest, colour = _slots(data)
    assert truth.behaviour.shape == batch.history.shape
    assert truth.profile.shape == batch.profile.shape
    assert (truth.profile[:, colour] == 0).all()
    wrapped = 0
    for row in range(len(batch)):
        for slot, item in enumerate(batch.history[row].tolist()):
            wrap = bool(item) and kinds[data.items.ids[item]] == "gift wrap"
            wrapped += wrap
            if wrap or not item or slot < batch.history.shape[1] - 10:
                assert truth.behaviour[row, slot] == 0
    assert wrapped > 0
    wanted = [data.items.ids[item] for item in batch.candidate.tolist()]
    caused = torch.tensor([kinds[item] != "gift wrap" for item in wanted])
    assert ((truth.profile[:, interest] != 0) == caused).all()


# The tables


def test_the_same_options_make_the_same_tables():
    one, again = PlantedWorld(users=20, seed=3).load(), PlantedWorld(users=20, seed=3).load()
    assert all(again.frames()[name].equals(frame) for name, frame in one.frames().items())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "ebdad46dd10cc283"),
        ({"users": 2, "events": 4, "items": 100}, "381e790868415fb4"),
        ({"users": 500, "items": 1000, "events": 60, "seed": 2}, "93c7882ca0324fa2"),
    ],
)
def test_the_tables_are_those_that_published_figures_were_measured_on(options: dict, expected: str):
    digest = hashlib.sha256()
    for frame in PlantedWorld(**options).load().frames().values():
        digest.update(frame.write_csv().encode() + str(frame.schema).encode())
    assert digest.hexdigest()[:16] == expected


def test_the_tables_do_not_depend_on_how_many_are_drawn_together(monkeypatch: pytest.MonkeyPatch):
    whole = PlantedWorld(users=20).load()
    monkeypatch.setattr(planted, "AT_ONCE", 3)
    again = PlantedWorld(users=20).load()
    assert all(again.frames()[name].equals(frame) for name, frame in whole.frames().items())


def test_another_seed_makes_other_tables():
    one, other = PlantedWorld(users=20, seed=3).load(), PlantedWorld(users=20, seed=4).load()
    for name in ("interactions", "users", "items", "relations"):
        assert not one.frames()[name].equals(other.frames()[name]), name


@pytest.mark.parametrize(
    "options",
    [{}, {"users": 2, "events": 4, "items": 100}, {"users": 300, "events": 25, "items": 100}],
)
def test_nobody_buys_an_item_twice_or_travels_in_time(options: dict):
    world = PlantedWorld(**options)
    events = world.load().interactions
    assert events.select("user", "item").is_unique().all()
    assert events["user"].n_unique() == world.users
    waits = events.select(pl.col("time").diff().over("user").drop_nulls())["time"]
    assert (waits > 0).all()
    counts = events.group_by("user").len()["len"]
    third = world.events // 3
    assert counts.min() >= world.events - third >= 3
    assert counts.max() < world.events + third


def test_the_texts_tell_the_category():
    items = WORLD.load().items
    assert items.height == 100
    for row in items.to_dicts():
        assert row["text"] == f"{row['title']}, for {row['category']}"
        assert any(thing in row["title"] for thing in SHOP.things[row["category"]])
        assert f" {row['colour']} " in row["title"]
    assert items.group_by("category").len()["len"].to_list() == [10] * 10


def test_friends_are_mutual_and_known():
    tables = WORLD.load()
    pairs = set(tables.relations.select("subject", "object").iter_rows())
    users = set(tables.users["user"])
    assert pairs
    assert all((b, a) in pairs and a != b and {a, b} <= users for a, b in pairs)
    assert set(tables.relations["predicate"]) == {"friend"}


# The dresses


def _worn(dress: str) -> Data:
    world = PlantedWorld(users=30, items=100, events=8, dress=dress)
    return Data(world.load(), DataOptions(history=14), TrainOptions())


@pytest.mark.parametrize("name", list(DRESSES))
def test_a_dress_has_words_for_all_that_the_rule_knows(name: str):
    dress = DRESSES[name]
    assert len(dress.categories) == planted.KINDS
    assert len(dress.variants) == len(SHOP.variants)  # so that other words draw the same numbers
    every = [thing for things in dress.things.values() for thing in things]
    assert len(every) == len(set(every)) == 5 * planted.KINDS  # a thing tells its category


@pytest.mark.parametrize("name", list(DRESSES))
def test_in_any_dress_a_text_tells_its_category(name: str):
    dress, data = DRESSES[name], _worn(name)
    for row in data.tables.items.to_dicts():
        things = [thing for thing in dress.things[row[dress.kind]] if thing in row["text"]]
        assert things
        assert row[dress.kind] in row["text"]
        assert row["title"] in row["text"]
        assert row[dress.variant] in row["title"]
    assert set(data.tables.interactions["action"]) == {dress.action}
    assert set(data.tables.users[dress.interest]) <= set(dress.categories[:-1])
    assert set(data.tables.users[dress.taste]) <= set(dress.variants)
    assert worn(data) == dress


@pytest.mark.parametrize("name", ["video", "social"])
def test_another_dress_is_the_same_world_in_other_words(data: Data, name: str):
    other, world = _worn(name), PlantedWorld(users=30, items=100, events=8, dress=name)
    assert data.tables.relations.equals(other.tables.relations)
    same = ["user", "item", "time", "value"]
    assert data.tables.interactions.select(same).equals(other.tables.interactions.select(same))
    for frame in ("items", "users"):
        ours, theirs = data.tables.frames()[frame], other.tables.frames()[frame]
        assert not set(ours.columns[-2:]) & set(theirs.columns)
    assert not set(data.texts[1:]) & set(other.texts[1:])
    ours = WORLD.truth(data, data.queries("test"))
    theirs = world.truth(other, other.queries("test"))
    assert torch.equal(ours.behaviour, theirs.behaviour)
    assert torch.equal(ours.profile, theirs.profile)
    assert ours.behaviour.any()


def test_who_states_no_interest_is_pulled_by_none(data: Data):
    """As where a mechanism of privacy has hidden it."""
    batch = _query(data, [0, 2, 5], 5, 6)
    profile = batch.profile.clone()
    profile[:, _slots(data)[0]] = 0
    truth = WORLD.truth(data, replace(batch, profile=profile))
    assert not truth.profile.any()
    assert truth.behaviour.any()


def test_other_data_wear_no_dress(data: Data):
    items = data.tables.items.with_columns(category=pl.lit("hats"))
    other = Data(data.tables.replace(items=items), data.options, data.train)
    for each in (small_data(), other):
        with pytest.raises(DataError, match="these data are no planted world"):
            worn(each)


def test_it_is_a_dataset_that_knows_its_causes():
    assert isinstance(WORLD, Planted)
    assert list(WORLD.sources()) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"users": 1}, "at least 2 users and 4 events"),
        ({"events": 3}, "at least 2 users and 4 events"),
        ({"items": 99}, "items is 99, it must be at least 100"),
        ({"events": 60}, "items is 200, it must be at least 4 times events"),
        ({"dress": "shops"}, "dress is 'shops': did you mean 'shop'"),
    ],
)
def test_a_world_that_cannot_be(options: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        PlantedWorld(**options)
