"""Recipes: what they may say, and what is said of one that says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from xrec.errors import RecipeError
from xrec.filling import fill
from xrec.options import DataOptions, PretrainOptions, TrainOptions
from xrec.recipe import Recipe

LEAST = {"name": "least", "data": {"dataset": "planted"}, "model": "sequential"}


def test_the_least_recipe_has_defaults() -> None:
    recipe = Recipe.of(LEAST)
    assert recipe.data == DataOptions()
    assert recipe.train == TrainOptions()
    assert recipe.encoder.name == "pretrained"
    assert recipe.explain == ()


def test_pretraining_may_be_named_alone() -> None:
    assert Recipe.of(LEAST).pretrain is None
    assert Recipe.of({**LEAST, "pretrain": "mlm"}).pretrain == PretrainOptions()
    told = Recipe.of({**LEAST, "pretrain": {"name": "mlm", "epochs": 1, "mask": 0.2}}).pretrain
    assert told == PretrainOptions(epochs=1, mask=0.2)


def test_dataset_options_are_parted_from_those_of_all_data() -> None:
    recipe = Recipe.of({**LEAST, "data": {"dataset": "planted", "users": 9, "history": 7}})
    assert recipe.data.history == 7
    assert recipe.dataset.options == {"users": 9}


def test_overrides_win_and_reach_lists(tiny_recipe: Path) -> None:
    recipe = Recipe.load(tiny_recipe, ["train.epochs=7", "explain=[recency]", "seed=5"])
    assert recipe.train.epochs == 7
    assert [choice.name for choice in recipe.explain] == ["recency"]
    assert recipe.seed == 5


def test_digest_follows_what_the_recipe_says(tiny_recipe: Path) -> None:
    one, same = Recipe.load(tiny_recipe), Recipe.load(tiny_recipe)
    assert one.digest() == same.digest()
    assert Recipe.load(tiny_recipe, ["seed=1"]).digest() != one.digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "name: 'None' must be a word"),
        ({"name": "../../etc"}, "must be a word fit for a folder's name"),
        ({"name": 3}, "must be a word"),
        ({"seed": "x"}, "seed: expected a whole number"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"seed": True}, "seed: expected a whole number"),
        ({"data": "planted"}, "data.dataset: name the dataset"),
        ({"data": {"size": "100k"}}, "data.dataset: name the dataset"),
        ({"train": 3}, "train: expected a mapping"),
        ({"train": {"lr": 0}}, "train: lr, clip and rates must be above 0"),
        ({"train": {"rates": {"text": 0}}}, "train: lr, clip and rates must be above 0"),
        ({"train": {"rates": {"text": "fast"}}}, "train.rates.text: Value 'fast' of type 'str'"),
        ({"train": {"precision": "bf61"}}, "train: precision is 'bf61': did you mean 'bf16'"),
        ({"train": {"checkpoint": -1}}, "train: checkpoint is -1, it must be at least 0"),
        ({"train": {"validate": -1}}, "train: validate is -1, it must be at least 0"),
        ({"data": {"dataset": "planted", "min_events": 2}}, "min_events is 2"),
        ({"explain": "random"}, "explain: expected a list"),
        ({"explain": [3]}, r"explain\[0\]: expected the name of a explainer"),
        ({"explain": ["random", "random"]}, "'random' is listed more than once"),
        ({"report": {"formats": ["pdf"]}}, "formats is 'pdf'"),
        ({"pretrain": "clm"}, "pretrain: name is 'clm': did you mean 'mlm'"),
        ({"pretrain": ["mlm"]}, "pretrain: expected a mapping of options"),
        ({"pretrain": {"epoch": 1}}, "pretrain.epoch: there is no such key; did you mean 'epochs'"),
        ({"pretrain": {"epochs": 0}}, "pretrain: epochs is 0, it must be at least 1"),
        ({"pretrain": {"lr": 0}}, "pretrain: lr must be above 0"),
        ({"pretrain": {"mask": 0}}, "pretrain: mask is 0.0, it must be between 0 and 1"),
        ({"pretrain": {"held_out": 1}}, "pretrain: held_out is 1.0, it must be between 0 and 1"),
        ({"protocol": {"absent": "zero"}}, "absent is 'zero'"),
        ({"modle": "x"}, "modle: there is no such key; did you mean 'model'"),
    ],
)
def test_refused(change: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.of({**LEAST, **change})


def test_a_key_left_out() -> None:
    with pytest.raises(RecipeError, match="data: this key is missing"):
        Recipe.of({"name": "x", "model": "sequential"})


def test_types_are_converted_only_where_nothing_is_lost() -> None:
    assert fill(TrainOptions, {"lr": "1e-3", "epochs": 2}, "train").lr == 0.001
    with pytest.raises(RecipeError, match=r"train\.epochs"):
        fill(TrainOptions, {"epochs": 1.5}, "train")


def test_a_recipe_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("name: !!python/object/apply:os.system ['touch evil']\nmodel: sequential\n")
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.load(path)
