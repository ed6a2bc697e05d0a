"""What `tune:` may say, and how a mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from xrec import Recipe
from xrec.errors import RecipeError
from xrec.tune.keys import check

PLAIN = {"name": "a", "data": {"dataset": "planted"}, "encoder": "hashed", "model": "sequential"}
LR = {"low": 1e-4, "high": 1e-2, "log": True}


def searched(**space: object) -> Recipe:
    return Recipe.of(
        {**PLAIN, "tune": {"space": {k.replace("__", "."): v for k, v in space.items()}}}
    )


def test_a_run_does_not_follow_tune() -> None:
    recipe = searched(train__lr=LR)
    assert recipe.digest() == Recipe.of(PLAIN).digest()
    assert recipe.tune is not None
    assert recipe.tune.space["train.lr"].low == 1e-4


def test_whole_ends_give_whole_numbers() -> None:
    recipe = searched(model__layers={"low": 1, "high": 3}, model__dropout={"low": 0, "high": 0.5})
    space = check(recipe).space
    assert [space[key].whole for key in space] == [True, False]


def test_changed_leaves_the_recipe_as_it_was() -> None:
    recipe = Recipe.of({k: v for k, v in PLAIN.items() if k != "encoder"})
    changed = recipe.changed({"model.width": 32, "train.lr": 0.5, "encoder.tune": "frozen"})
    assert changed.model.options == {"width": 32}
    assert changed.train.lr == 0.5
    assert changed.encoder.options == {"tune": "frozen"}
    assert changed.encoder.name == recipe.encoder.name == "pretrained"
    assert recipe.resolved["model"] == "sequential"
    assert "train" not in recipe.resolved


MISTAKES = {
    "log from 0": (
        {"train__lr": {"low": 0, "high": 1, "log": True}},
        "tune.space.train.lr: log needs a low above 0, and low is 0",
    ),
    "empty range": (
        {"model__layers": {"low": 3, "high": 1}},
        "tune.space.model.layers: the range is empty: low is 3 and high is 1",
    ),
    "half a range": (
        {"model__layers": {"low": 3}},
        "tune.space.model.layers: high is missing: give choices, or low and high",
    ),
    "an end that is no number": (
        {"train__lr": {"low": "tiny", "high": 1}},
        "tune.space.train.lr: low is 'tiny', it must be a number",
    ),
    "choices and a range": (
        {"model__layers": {"choices": [1], "low": 1}},
        "tune.space.model.layers: give choices, or low, high and log, but not both",
    ),
    "a choice twice": (
        {"model__layers": {"choices": [1, 2, 1]}},
        "tune.space.model.layers: the choice 1 is listed more than once",
    ),
    "a choice that is a list": (
        {"model__layers": {"choices": [[1]]}},
        "tune.space.model.layers: the choice '[1]' must be a number, a text, true or false",
    ),
    "no mapping": (
        {"train__lr": 0.1},
        "tune.space.train.lr: expected a mapping of options, got '0.1'",
    ),
    "unknown word": (
        {"train__lr": {"lo": 1, "high": 2}},
        "tune.space.train.lr.lo: there is no such key; did you mean 'low'?",
    ),
    "unknown key": (
        {"model__widht": {"choices": [16]}},
        "tune.space.model.widht: there is no such key to search; did you mean 'model.width'?",
    ),
    "a key that changes who validates": (
        {"data__min_events": {"low": 3, "high": 9}},
        "tune.space.data.min_events: there is no such key to search",
    ),
    "a value the recipe refuses": (
        {"model__width": {"choices": [16, 15]}},
        "tune.space.model.width: with 15, model: width 15 must be a multiple of heads 2",
    ),
    "a value of a wrong type": (
        {"model__width": {"choices": ["wide"]}, "model__heads": {"choices": [2]}},
        "tune.space.model.width: with wide, model.width: ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    space, sentence = MISTAKES[mistake]
    with pytest.raises(RecipeError) as told:
        check(searched(**space))
    assert str(told.value).startswith(sentence)
    assert "\n" not in str(told.value)


def test_what_only_goes_together_is_left_to_the_trials() -> None:
    assert check(searched(model__width={"choices": [12, 15]}, model__heads={"choices": [2, 3]}))


@pytest.mark.parametrize(
    ("tune", "sentence"),
    [
        ({}, "tune.space: say what is searched"),
        ({"space": {}}, "tune.space: say what is searched"),
        ({"space": {"train.lr": LR}, "trails": 3}, "tune.trails: there is no such key; did you"),
        ({"space": {"train.lr": LR}, "trials": 0}, "tune: trials is 0, it must be at least 1"),
        ({"space": {"train.lr": LR}, "sampler": "tpi"}, "tune: sampler is 'tpi': did you mean"),
        ({"space": {"train.lr": LR}, "metric": "test_mrr"}, "tune: metric is 'test_mrr', it must"),
    ],
)
def test_mistakes_beside_the_space(tune: dict, sentence: str) -> None:
    with pytest.raises(RecipeError, match="tune") as told:
        Recipe.of({**PLAIN, "tune": tune})
    assert str(told.value).startswith(sentence)


def test_a_recipe_without_tune(tiny_recipe: Path) -> None:
    with pytest.raises(RecipeError, match="tune: this key is missing from the recipe"):
        check(Recipe.load(tiny_recipe))
