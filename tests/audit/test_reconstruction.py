"""What can be guessed of a history, by hand in a small world."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from xrec.audit.reconstruction import ALL, GUESSES, POPULAR, _named, _others, reconstruction
from xrec.testing import small_data

DATA = small_data(users=30, items=40)


def history(user: int) -> list[int]:
    begin, end = DATA.events.span(user)
    return DATA.events.item[begin : end - 1].tolist()


def told(users: list[int], named: int | None = None) -> pl.DataFrame:
    """Explanations that name the last events of users, those that count most last."""
    rows = []
    for row, user in enumerate(users):
        had = history(user)
        item = next(at for at in range(1, len(DATA.items)) if at not in had)
        for slot, event in enumerate(had[-named:] if named else had):
            rows.append((row, user, item, slot, "behaviour", DATA.titles[event], 0.1 * (1 + slot)))
        rows.append((row, user, item, 90, "profile", "age: old", 9.0))
    frame = pl.DataFrame(
        rows, ["row", "user", "item", "slot", "group", "feature", "value"], orient="row"
    )
    ids = {"user": DATA.users.ids, "item": DATA.items.ids}
    return frame.with_columns(
        pl.col(name).map_elements(names.__getitem__, return_dtype=pl.String)
        for name, names in ids.items()
    )


def test_all_that_is_named_is_known() -> None:
    found = reconstruction(DATA, told([1, 2, 3]))
    for figure in ("precision", "recall", "named"):
        assert found[ALL][figure]["mean"] == 1
    assert found["without names"]["named"]["mean"] == found[POPULAR]["named"]["mean"] == 0


def test_the_less_is_named_the_less_is_known() -> None:
    found = reconstruction(DATA, told(list(range(1, 31))))
    recall = [found[name]["recall"]["mean"] for name in found]
    assert recall[0] > recall[1] > recall[2] > recall[3]
    named = [found[name]["named"]["mean"] for name in found]
    sizes = [len(history(user)) for user in range(1, 31)]
    assert named[1:3] == pytest.approx(
        [sum(min(1, count / size) for size in sizes) / 30 for count in (3, 1)]
    )


def test_popularity_by_hand() -> None:
    found = reconstruction(DATA, told([4]))
    had, item = set(history(4)), DATA.items.index(told([4])["item"][0])
    others = [i for user in range(1, 31) if user != 4 for i in _everything(user)]
    counts = torch.bincount(torch.tensor(others), minlength=len(DATA.items))
    order = sorted(range(1, len(counts)), key=lambda at: (-int(counts[at]), at))
    best = [at for at in order if at != item][:GUESSES]
    right = len(had.intersection(best))
    assert found[POPULAR]["precision"]["mean"] == pytest.approx(right / GUESSES)
    assert found[POPULAR]["recall"]["mean"] == pytest.approx(right / len(had))


def test_others_who_had_the_same_by_hand() -> None:
    _, alike = _others(DATA, 4, 7)
    together = torch.zeros(len(DATA.items))
    for user in range(1, 31):
        if user != 4 and 7 in _everything(user):
            together[_everything(user)] += 1
    counts = together[alike].tolist()
    assert counts == sorted(counts, reverse=True)
    assert 7 not in alike
    assert len(alike) == len(DATA.items) - 2


def test_one_s_own_history_is_no_help() -> None:
    changed = small_data(users=30, items=40)
    begin, end = changed.events.span(4)
    changed.events.item[begin:end] = changed.events.item[begin:end].flip(0) % 40 + 1
    for one, other in zip(_others(DATA, 4, 7), _others(changed, 4, 7), strict=True):
        assert torch.equal(one, other)


def test_a_name_that_several_items_have_is_taken_for_the_most_popular() -> None:
    popular = torch.tensor([5, 9, 2])
    assert _named([[2, 9], [2, 9], [2, 9], []], popular) == [9, 2]


def test_an_explanation_without_events_leaves_guessing() -> None:
    found = reconstruction(DATA, told([1, 2, 3]).filter(pl.col("group") == "profile"))
    assert found[ALL] == found["without names"]


def _everything(user: int) -> list[int]:
    begin, end = DATA.events.span(user)
    return DATA.events.item[begin:end].tolist()
