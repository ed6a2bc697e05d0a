"""The data of a run: no leakage, windows that learn every event once, negatives, repeatability."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.data import module
from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.data.tables import INTERACTIONS, Tables
from xrec.errors import DataError
from xrec.options import DataOptions, TrainOptions
from xrec.testing import small_data


@dataclass
class World:
    """Data, and each user's item and time indices in the order in which they happened."""

    data: Data
    items: dict[int, list[int]]
    times: dict[int, list[int]]

    def users(self) -> Iterator[int]:
        return iter(self.items)


def _world(rows: list[tuple[str, str, int]], length: int, **options: object) -> World:
    """Data made of rows (user, item, time) in the order of a file."""
    items = sorted({item for _, item, _ in rows} | {"never"})
    tables = Tables(
        pl.DataFrame(
            [(user, item, time, 1.0, "buy") for user, item, time in rows],
            schema=dict(INTERACTIONS),
            orient="row",
        ),
        pl.DataFrame({"item": items, "title": items, "text": items}),
    ).check("a world")
    train = TrainOptions(batch=3, negatives=5)
    data = Data(tables, DataOptions(history=length, **options), train)  # type: ignore[arg-type]
    told: dict[int, list[tuple[str, str, int]]] = {}
    for user in data.users.ids[1:]:
        mine = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])
        told[data.users.index(user)] = mine
    return World(
        data,
        {user: [data.items.index(item) for _, item, _ in mine] for user, mine in told.items()},
        {user: [time for *_, time in mine] for user, mine in told.items()},
    )


@st.composite
def worlds(draw: st.DrawFn, own_items: bool = False) -> World:
    """Histories with ties in time, their rows interleaved; with own_items no item comes twice."""
    counts = draw(st.lists(st.integers(3, 16), min_size=1, max_size=4))
    users = draw(st.permutations([user for user, n in enumerate(counts) for _ in range(n)]))
    catalogue = draw(st.integers(2, 8))
    rows = []
    for at, user in enumerate(users):
        item = at if own_items else draw(st.integers(0, catalogue - 1))
        rows.append((f"u{user}", f"i{item:03}", draw(st.integers(1, 5))))
    return _world(rows, length=draw(st.integers(1, 7)))


def _last(row: list[int], length: int) -> list[int]:
    """The last values of a row, padded on the left."""
    kept = row[-length:] if length else []
    return [0] * (length - len(kept)) + kept


def _same(one: Batch, other: Batch) -> bool:
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(Batch)]
    return all(torch.equal(a, b) if a is not None else b is None for a, b in pairs)


# Ranking queries


@settings(max_examples=80, deadline=None)
@given(worlds(), st.sampled_from([("validate", 2), ("test", 1)]))
def test_a_query_is_the_past_alone(world: World, stage: tuple[str, int]):
    """Its history is what came before the held-out event: never that event, nor a later one."""
    name, back = stage
    queries, length = world.data.queries(name), world.data.options.history
    assert queries.user.tolist() == list(world.users())
    for row, user in enumerate(world.users()):
        assert queries.candidate[row] == world.items[user][-back]
        assert queries.history[row].tolist() == _last(world.items[user][:-back], length)
        assert queries.history_time[row].tolist() == _last(world.times[user][:-back], length)
        assert (queries.history_action[row] > 0).equal(queries.history[row] > 0)


@settings(max_examples=60, deadline=None)
@given(worlds(own_items=True))
def test_held_out_items_are_seen_at_no_earlier_stage(world: World):
    """With no item bought twice, an item held out is nowhere in what earlier stages are shown."""
    windows, validate, test = (
        world.data.windows(),
        world.data.queries("validate"),
        world.data.queries("test"),
    )
    trained = set(windows.history.flatten().tolist()) | set(windows.candidate.tolist())
    assert not trained & set(validate.candidate.tolist())
    assert not trained & set(test.candidate.tolist())
    shown = set(validate.history.flatten().tolist()) | set(validate.candidate.tolist())
    assert not shown & set(test.candidate.tolist())
    assert not (test.history == test.candidate[:, None]).any()


def test_some_users_may_be_asked_for_in_any_order():
    data = small_data()
    whole, some = data.queries("test"), data.queries("test", torch.tensor([7, 2, 7]))
    assert _same(some, whole.rows(torch.tensor([6, 1, 6])))


def test_looking_ahead_takes_everything_as_history():
    world = _world([("u", f"i{at}", at) for at in range(5)], length=4)
    batch = world.data.latest(torch.tensor([1]), torch.tensor([2]))
    assert batch.history.tolist() == [world.items[1][1:]]
    assert batch.candidate.tolist() == [2]
    assert world.data.latest(torch.tensor([1]), torch.tensor([2])).history_time.tolist() == [
        [1, 2, 3, 4]
    ]


def test_profiles_follow_the_users():
    data = small_data()
    batch = data.queries("test", torch.tensor([3, 1]))
    for row, user in enumerate([3, 1]):
        told = data.tables.users.row(
            by_predicate=pl.col("user") == data.users.ids[user], named=True
        )
        names = [data.profile.names[value] for value in batch.profile[row].tolist()]
        assert names == [
            f"{field}: {told[field]}" if told[field] else "" for field in ("age", "town")
        ]


def test_the_loaders_ask_of_every_user_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "QUERY_BATCH", 5)
    data = small_data(users=12)
    for loader, stage in ((data.val_dataloader(), "validate"), (data.test_dataloader(), "test")):
        parts = list(loader)
        assert [len(part) for part in parts] == [5, 5, 2]
        whole = data.queries(stage)
        assert torch.cat([part.user for part in parts]).equal(whole.user)
        assert torch.cat([part.history for part in parts]).equal(whole.history)
        assert torch.cat([part.candidate for part in parts]).equal(whole.candidate)


@pytest.mark.parametrize("asked", [1, 5, 12, 99])
def test_some_users_validate_the_same_in_every_epoch(asked: int):
    def users(seed: int, stage: str = "val") -> list[int]:
        data = small_data(users=12)
        data.seed, data.train = seed, replace(data.train, validate=asked)
        return torch.cat([part.user for part in getattr(data, f"{stage}_dataloader")()]).tolist()

    assert users(0) == users(0) == sorted(set(users(0)))
    assert len(users(0)) == min(asked, 12)
    assert len({tuple(users(seed)) for seed in range(20)}) > 1 or asked >= 12
    assert users(0, "test") == list(range(1, 13))


# What is excluded


@settings(max_examples=60, deadline=None)
@given(worlds(), st.sampled_from([("train", 2), ("validate", 2), ("test", 1)]))
def test_seen_is_every_item_before_the_held_out_event(world: World, stage: tuple[str, int]):
    name, hidden = stage
    marks = world.data.seen(torch.tensor(list(world.users())), name)
    assert marks.shape == (len(world.items), len(world.data.items))
    for row, user in enumerate(world.users()):
        earlier = set(world.items[user][:-hidden])
        assert set(marks[row].nonzero().flatten().tolist()) == earlier


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_items_are_counted_by_their_training_events(world: World):
    expected = [0] * len(world.data.items)
    for user in world.users():
        for item in world.items[user][:-2]:
            expected[item] += 1
    assert world.data.counts.tolist() == expected
    windows = world.data.windows()
    assert windows.learned is not None
    learned = torch.bincount(windows.history[windows.learned], minlength=len(expected))
    assert learned.tolist() == expected


def test_what_was_seen_is_left_out_only_if_asked():
    rows = [("u", f"i{at}", at) for at in range(5)]
    users = torch.tensor([1])
    excluding, ranking = _world(rows, 4).data, _world(rows, 4, exclude_seen=False).data
    left_out = excluding.left_out(users, "test")
    assert left_out is not None
    assert left_out.equal(excluding.seen(users, "test"))
    assert ranking.left_out(users, "test") is None


# Training windows


@settings(max_examples=150, deadline=None)
@given(worlds(own_items=True))
def test_every_training_event_is_learned_in_just_one_window(world: World):
    """And that is the window in which the most comes before it."""
    windows = world.data.windows()
    assert windows.learned is not None
    learned: Counter[int] = Counter()
    before: dict[int, list[tuple[int, bool]]] = {}
    for row in range(len(windows)):
        items = windows.history[row].tolist()
        for at, item in enumerate(items):
            if item:
                context = sum(earlier > 0 for earlier in items[:at])
                told = bool(windows.learned[row, at])
                learned[item] += told
                before.setdefault(item, []).append((context, told))
            else:
                assert not windows.learned[row, at]
    training = [item for user in world.users() for item in world.items[user][:-2]]
    assert learned == Counter(training)
    for item in training:
        context = next(count for count, told in before[item] if told)
        assert context == max(count for count, _ in before[item])


@settings(max_examples=100, deadline=None)
@given(worlds(own_items=True))
def test_a_window_is_an_unbroken_piece_of_one_training_history(world: World):
    windows, length = world.data.windows(), world.data.options.history
    for row in range(len(windows)):
        user = int(windows.user[row])
        history = world.items[user][:-2]
        stop = history.index(int(windows.history[row, -1])) + 1
        assert windows.history[row].tolist() == _last(history[:stop], length)
        assert windows.history_time[row].tolist() == _last(world.times[user][:stop], length)
        assert windows.candidate[row] == windows.history[row, -1]


def test_a_long_history_is_cut_into_windows_that_overlap_by_half():
    world = _world([("u", f"i{at:02}", at) for at in range(11)], length=4)
    windows = world.data.windows()
    i = world.items[1]
    assert windows.history.tolist() == [[0, 0, *i[0:2]], i[0:4], i[2:6], i[4:8], i[5:9]]
    assert windows.learned is not None
    assert windows.learned.tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [False, False, True, True],
        [False, False, True, True],
        [False, False, False, True],
    ]


# Training batches


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(0, 3))
def test_an_epoch_shows_every_window_once_with_items_the_user_never_had(world: World, epoch: int):
    world.data.trainer = SimpleNamespace(current_epoch=epoch)
    windows, shown = world.data.windows(), []
    for batch in world.data.train_dataloader():
        assert batch.negatives is not None
        assert batch.negatives.shape == (len(batch), world.data.train.negatives)
        assert len(batch) <= world.data.train.batch
        for row in range(len(batch)):
            mine = set(world.items[int(batch.user[row])][:-2])
            assert not mine & set(batch.negatives[row].tolist())
        assert (batch.negatives > 0).all()
        shown += _lines(batch)
    assert Counter(shown) == Counter(_lines(windows))


def _lines(batch: Batch) -> list[tuple]:
    assert batch.learned is not None
    return [
        (user, tuple(history), tuple(learned))
        for user, history, learned in zip(
            batch.user.tolist(), batch.history.tolist(), batch.learned.tolist(), strict=True
        )
    ]


def test_negatives_are_drawn_from_all_that_the_user_has_not_had():
    """As often one as another, to four standard errors."""
    world = _world([("u", f"i{at % 7}", at) for at in range(9)], length=14)
    world.data.train = TrainOptions(negatives=4000)
    (batch,) = world.data.train_dataloader()
    counts = torch.bincount(batch.negatives.flatten(), minlength=len(world.data.items))
    trained = set(world.items[1][:-2])
    others = [item for item in range(1, len(world.data.items)) if item not in trained]
    assert counts.sum() == counts[others].sum() == 4000
    share = 1 / len(others)
    error = (4000 * share * (1 - share)) ** 0.5
    assert ((counts[others] - 4000 * share).abs() <= 4 * error).all()


def test_a_user_who_has_had_everything_is_shown_any_item():
    items = ["i0", "i1", "never", "i0", "i1"]
    world = _world([("u", item, at) for at, item in enumerate(items)], length=4)
    assert world.data.tables.items["item"].n_unique() == 3
    (batch,) = world.data.train_dataloader()
    assert ((batch.negatives >= 1) & (batch.negatives <= 3)).all()


def _epoch(seed: int, epoch: int) -> list[Batch]:
    data = small_data()
    data.seed, data.trainer = seed, SimpleNamespace(current_epoch=epoch)
    return list(data.train_dataloader())


def test_the_same_seed_and_epoch_give_the_same_batches():
    first, again = _epoch(0, 1), _epoch(0, 1)
    assert len(first) == len(again) > 1
    assert all(_same(a, b) for a, b in zip(first, again, strict=True))


def test_an_epoch_begun_again_is_the_same():
    """Lightning may ask the same loader for its batches more than once."""
    loader = small_data().train_dataloader()
    assert all(_same(a, b) for a, b in zip(list(loader), list(loader), strict=True))


@pytest.mark.parametrize(("seed", "epoch"), [(0, 2), (1, 1)])
def test_another_epoch_or_seed_gives_another_order_and_other_negatives(seed: int, epoch: int):
    first, other = _epoch(0, 1), _epoch(seed, epoch)
    assert _column(first, "user") != _column(other, "user")
    order = [sorted(_column(batches, "user")) for batches in (first, other)]
    assert order[0] == order[1]
    assert _drawn(first) != _drawn(other)


def _column(batches: list[Batch], name: str) -> list[int]:
    return [value for batch in batches for value in getattr(batch, name).tolist()]


def _drawn(batches: list[Batch]) -> dict[tuple, list[int]]:
    """Each window's negatives, whatever the order of the windows."""
    return {
        line: sorted(row)
        for batch in batches
        for line, row in zip(_lines(batch), batch.negatives.tolist(), strict=True)
    }


def test_without_a_trainer_it_is_the_first_epoch():
    data = small_data()
    assert all(_same(a, b) for a, b in zip(data.train_dataloader(), _epoch(0, 0), strict=True))


# What cannot be split


def test_a_user_with_two_events_cannot_be_split():
    rows = [("u", f"i{at}", at) for at in range(4)] + [("v", "i1", 1), ("v", "i2", 2)]
    with pytest.raises(DataError) as raised:
        _world(rows, length=3)
    assert str(raised.value).startswith("user 'v' has fewer than 3 events")


def test_events_without_times_can_be_split_at_random_alone():
    rows = [("u", f"i{at}", None if at == 1 else at) for at in range(4)]
    with pytest.raises(DataError) as raised:
        _world(rows, length=3)
    assert str(raised.value) == (
        "1 of 4 events have no time, and leave_last_out splits by it: set data.split to "
        "leave_random_out"
    )


def test_a_split_at_random_follows_the_seed():
    rows = [(user, f"i{at:02}", None) for user in "uv" for at in range(20)]
    items = sorted({item for _, item, _ in rows})
    tables = Tables(
        pl.DataFrame(
            [(*row, 1.0, "play") for row in rows], schema=dict(INTERACTIONS), orient="row"
        ),
        pl.DataFrame({"item": items, "title": items, "text": items}),
    )
    options = DataOptions(split="leave_random_out", history=20)
    one, same, other = (Data(tables, options, TrainOptions(), seed) for seed in (1, 1, 2))
    assert _same(one.queries("test"), same.queries("test"))
    assert not _same(one.queries("test"), other.queries("test"))
    for stage, before in (("validate", 18), ("test", 19)):
        queries = one.queries(stage)
        assert (queries.history > 0).sum(1).tolist() == [before, before]
        assert not (queries.history == queries.candidate[:, None]).any()
        assert not queries.history_time.any()


def test_titles_and_texts_begin_with_padding():
    data = small_data(items=15)
    assert data.titles[0] == data.texts[0] == ""
    assert data.titles[data.items.index("i3")] == "Film 3"
    assert data.texts[data.items.index("i3")] == "Film 3, a comedy and drama"


# The real MovieLens 100K, with its many events of the same second


@pytest.mark.skipif("XREC_DATA_DIR" not in os.environ, reason="XREC_DATA_DIR is not set")
def test_movielens_is_split_without_leakage():
    folder = Path(os.environ["XREC_DATA_DIR"]) / "ml-100k"
    tables = pytest.importorskip("xrec_plugins.datasets.movielens").MovieLens(folder=str(folder))
    data = Data(tables.load(), DataOptions(history=20), TrainOptions())
    windows, test = data.windows(), data.queries("test")
    validate = data.queries("validate")
    assert windows.learned is not None
    assert int(windows.learned.sum()) == 100_000 - 2 * 943
    # No film is rated twice, so that a target is nowhere in its user's past.
    assert not (test.history == test.candidate[:, None]).any()
    assert not (validate.history == test.candidate[:, None]).any()
    mine = windows.user - 1
    for held_out in (validate.candidate, test.candidate):
        assert not (windows.history == held_out[mine][:, None]).any()


@pytest.mark.parametrize("split", ["leave_last_out", "leave_random_out"])
def test_some_users_are_as_if_there_were_no_others(split: str) -> None:
    whole, chosen = small_data(), torch.tensor([2, 3, 7, 12])
    whole = Data(whole.tables, replace(whole.options, split=split), whole.train)
    some = whole.among(chosen)
    names = [whole.users.ids[user] for user in chosen.tolist()]
    assert some.users.ids == ["", *names]
    assert some.tables.interactions.equals(
        whole.tables.interactions.filter(pl.col("user").is_in(names))
    )
    everyone = torch.arange(1, 5)
    for stage in ("train", "validate", "test"):
        mine, theirs = some.queries(stage, everyone), whole.queries(stage, chosen)
        assert torch.equal(mine.user, everyone)
        for name in ("history", "history_time", "history_action", "profile", "candidate", "label"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))
        assert torch.equal(some.seen(everyone, stage), whole.seen(chosen, stage))
    windows, every = some.windows(), whole.windows()
    kept = torch.isin(every.user, chosen)
    assert torch.equal(chosen[windows.user - 1], every.user[kept])
    for name in ("history", "learned", "truth"):
        assert torch.equal(getattr(windows, name), getattr(every, name)[kept])
    assert torch.equal(some.counts, some.seen(everyone, "train").sum(0))


def test_those_left_out_are_still_there_in_the_whole() -> None:
    whole = small_data()
    before = whole.events.item.clone()
    whole.among(torch.tensor([1, 2]))
    assert len(whole.users) == 13
    assert torch.equal(whole.events.item, before)
