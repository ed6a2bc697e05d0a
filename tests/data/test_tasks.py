"""Tasks: what a recipe may say of them, and what is true of events."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from xrec import Recipe
from xrec.data.features import Vocabulary
from xrec.data.module import Data
from xrec.data.split import Events
from xrec.data.tasks import CLICK, KNOWN, Task
from xrec.data.truths import truths
from xrec.errors import DataError, RecipeError
from xrec.testing import small_data

ACTIONS = Vocabulary(["buy", "view"], "action")
NAN = float("nan")


def _events(value: list[float], action: list[int]) -> Events:
    zero = torch.zeros(len(value), dtype=torch.long)
    return Events(zero, zero, torch.tensor(action), torch.tensor(value), torch.tensor([0, 0, 3]))


def _recipe(**keys: object) -> Recipe:
    return Recipe.of({"name": "t", "data": {"dataset": "planted"}, "model": "sequential", **keys})


def test_the_truth_of_each_kind_of_task():
    tasks = (
        CLICK,
        KNOWN["rating"],
        Task("like", target="value", loss="bce", above=3),
        Task("purchase", target="action", equals="buy"),
    )
    found = truths(tasks, _events([4, 3, NAN], [1, 2, 0]), ACTIONS)
    expected = torch.tensor([[1, 4, 1, 1], [1, 3, 0, 0], [1, NAN, NAN, NAN]])
    assert torch.equal(found.nan_to_num(-1), expected.nan_to_num(-1))


def test_a_task_without_any_truth_is_refused():
    events = _events([NAN, NAN, NAN], [1, 2, 0])
    with pytest.raises(DataError, match="task rating: no event has a value; choose another"):
        truths((KNOWN["rating"],), events, ACTIONS)
    with pytest.raises(DataError) as raised:
        truths((Task("p", target="action", equals="bye"),), events, ACTIONS)
    assert str(raised.value) == "task p: no event has the action 'bye'; did you mean 'buy'?"


def test_the_default_is_to_rank_what_follows():
    assert _recipe().tasks == (CLICK,)
    assert (CLICK.target, CLICK.loss, CLICK.ranks) == ("next", "bce", True)
    assert KNOWN["rating"].loss == "mse"
    assert not KNOWN["rating"].ranks


def test_tasks_of_a_recipe():
    like = {"name": "like", "target": "value", "loss": "bce", "above": 3.5}
    recipe = _recipe(tasks=["rating", {"name": "click", "loss": "softmax"}, like])
    names = [(task.name, task.loss, task.above) for task in recipe.tasks]
    assert names == [("rating", "mse", None), ("click", "softmax", None), ("like", "bce", 3.5)]


@pytest.mark.parametrize(
    ("tasks", "complaint"),
    [
        (
            ["clik"],
            "tasks[0]: no task is known as 'clik': did you mean 'click'? Else say what it "
            "predicts, as in {name: clik, target: value}",
        ),
        ("click", "tasks: expected a list of tasks, got 'click'"),
        ([], "tasks: expected a list of tasks, got '[]'"),
        (["click", "click"], "tasks: 'click' is listed more than once"),
        ([{"name": "a b"}], "tasks[0]: name is 'a b', it must be a word, as in click"),
        (
            [{"name": "a", "target": "valu"}],
            "tasks[0]: target is 'valu': did you mean 'value'?",
        ),
        (
            [{"name": "a", "loss": "mse"}],
            "tasks[0]: loss is 'mse', but target next has bce or softmax",
        ),
        (
            [{"name": "a", "target": "value", "loss": "bce"}],
            "tasks[0]: above goes with target value and loss bce, and they with it",
        ),
        (
            [{"name": "a", "equals": "buy"}],
            "tasks[0]: equals goes with target action, and that with it",
        ),
        ([{"name": "a", "los": "mse"}], "tasks[0].los: there is no such key; did you mean 'loss'?"),
    ],
)
def test_tasks_that_are_refused(tasks: object, complaint: str):
    with pytest.raises(RecipeError) as raised:
        _recipe(tasks=tasks)
    assert str(raised.value) == complaint


def test_an_adaptation_is_checked_against_the_tasks():
    tasks, train = ["click", "rating"], {"monitor": "val_rating_loss"}
    adapt = {"run": "runs/a/b", "task": "rating"}
    assert _recipe(tasks=tasks, train=train, adapt=adapt).adapt is not None
    for changed, complaint in [
        (
            {"adapt": {**adapt, "task": "raiting"}},
            "adapt.task: there is no task 'raiting' under tasks; did you mean 'rating'?",
        ),
        (
            {"tasks": ["rating", "click"]},
            "adapt.task: under tasks, list those of the run runs/a/b in their order, and 'rating' "
            "after them",
        ),
        (
            {"train": {}},
            "train.monitor: only the head of task 'rating' learns, and 'val_ndcg@10' does not tell "
            "of it: choose one of its own, such as val_rating_loss",
        ),
    ]:
        with pytest.raises(RecipeError) as raised:
            _recipe(**{"tasks": tasks, "train": train, "adapt": adapt, **changed})
        assert str(raised.value) == complaint


def test_truths_go_with_events_into_windows_and_queries():
    tables = small_data().tables
    values = tables.interactions.with_columns(value=(pl.int_range(pl.len()) % 5).cast(pl.Float64))
    plain = small_data()
    tables = tables.replace(interactions=values)
    data = Data(tables, plain.options, plain.train, 0, list(KNOWN.values()))
    windows = data.windows()
    rated = {
        (data.users.index(row["user"]), data.items.index(row["item"])): row["value"]
        for row in values.to_dicts()
    }
    for row in range(len(windows)):
        for item, truth in zip(windows.history[row].tolist(), windows.truth[row], strict=True):
            expected = [1, rated[int(windows.user[row]), item]] if item else [0, 0]
            assert truth.tolist() == expected
    queries = data.queries("test")
    for user, item, label in zip(queries.user, queries.candidate, queries.label, strict=True):
        assert label.tolist() == [1, rated[int(user), int(item)]]
    known = sorted(value for value in data.known(1).tolist())
    held_out = [rated[int(u), int(i)] for s in ("validate", "test") for u, i in _pairs(data, s)]
    assert sorted([*known, *held_out]) == sorted(rated.values())


def _pairs(data: Data, stage: str) -> list[tuple[int, int]]:
    batch = data.queries(stage)
    return list(zip(batch.user.tolist(), batch.candidate.tolist(), strict=True))
