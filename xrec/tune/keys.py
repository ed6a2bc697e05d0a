"""Whether a recipe has the keys that its `tune:` searches, and takes the values sought."""

from __future__ import annotations

from dataclasses import fields

from xrec import plugins
from xrec.errors import RecipeError, nearest
from xrec.options import TrainOptions
from xrec.recipe import Choice, Recipe
from xrec.tune.space import TuneOptions


def check(recipe: Recipe) -> TuneOptions:
    """What is searched, once every key and the ends of its range are known to be good.

    Raises RecipeError: nothing is said of what to search, a key is unknown or nothing that
    training follows, or the recipe does not take a value. What a plugin says of one option beside
    another is left to the trials where both are searched.
    """
    if recipe.tune is None:
        raise RecipeError(
            "tune: this key is missing from the recipe; say what is searched, as in "
            "tune: {space: {train.lr: {low: 1e-4, high: 1e-2, log: true}}}"
        )
    known = _searchable(recipe)
    for key, sought in recipe.tune.space.items():
        if key not in known:
            raise RecipeError(
                f"tune.space.{key}: there is no such key to search; {nearest(key, known)}"
            )
        for value in sought.ends:
            _try(recipe, recipe.tune, key, value)
    return recipe.tune


def _searchable(recipe: Recipe) -> list[str]:
    """The keys that training follows, and that leave the validation users what they are."""
    return [
        *(f"train.{f.name}" for f in fields(TrainOptions)),
        "data.history",
        *_options("model", recipe.model),
        *_options("encoder", recipe.encoder),
    ]


def _options(section: str, choice: Choice) -> list[str]:
    factory = plugins.factory(choice.kind, choice.name)
    return [f"{section}.{f.name}" for f in fields(factory) if f.init]


def _try(recipe: Recipe, options: TuneOptions, key: str, value: object) -> None:
    section = key.partition(".")[0]
    beside = sum(other.partition(".")[0] == section for other in options.space) > 1
    try:
        recipe.changed({key: value}).check()
    except RecipeError as error:
        if beside and type(error.__cause__) is ValueError:  # no child: those are of a wrong type
            return
        raise RecipeError(f"tune.space.{key}: with {value}, {error}") from error
