"""The variants of a recipe's model that a grid compares: as trained, smaller, more private."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xrec import plugins
from xrec.errors import RecipeError, XrecError
from xrec.recipe import Recipe, is_folder_name
from xrec.runs.run import Tell

BASE = "as trained"  # no name that a recipe gives has a space in it
OWN = "as the recipe says"
KINDS = {"compress": "compressor", "privacy": "mechanism"}
#: What a variant may change. Data, tasks and explainers are the same for all, or could not be
#: compared.
CHANGES = ("compress", "privacy", "model", "encoder", "pretrain", "train", "hooks", "seed")


def variants(recipe: Recipe, tell: Tell = lambda text: None) -> dict[str, Recipe]:
    """The recipes of all variants by name, that of the model `as trained` first.

    As trained is the recipe without `compress` and `privacy`; with them it is a variant of its own.
    The others are those of `bench.variants`, each a mapping of what it changes; where the recipe
    names none, one for each compressor and mechanism that is installed, with its default options.

    Raises RecipeError or PluginError: the recipe, or a variant that it names, cannot be carried
    out. What is only installed and cannot is left out, and told of.
    """
    bare = {key: value for key, value in recipe.resolved.items() if key not in KINDS}
    base = Recipe.of(bare)
    base.check()
    found = {BASE: base}
    if recipe.compress or recipe.privacy:
        recipe.check()
        found[OWN] = recipe
    if recipe.bench.variants:
        return found | {
            name: _named(base, name, changes) for name, changes in recipe.bench.variants.items()
        }
    found |= _installed(base, tell)
    if len(found) == 1:
        tell(
            "there is the model as trained alone, as no compressor and no privacy mechanism is "
            "installed: install some, or name variants under bench.variants"
        )
    return found


def _named(base: Recipe, name: str, changes: Any) -> Recipe:
    where = f"bench.variants.{name}"
    if not is_folder_name(name):
        raise RecipeError(f"{where}: '{name}' must be a word fit for a file's name")
    if not isinstance(changes, Mapping) or not changes:
        raise RecipeError(
            f"{where}: expected what it changes, as in {{compress: [quantise]}}, got '{changes}'"
        )
    for key in changes:
        if key not in CHANGES:
            raise RecipeError(
                f"{where}.{key}: a variant may change {', '.join(CHANGES)}, and nothing else"
            )
    try:
        made = _changed(base, changes)
        made.check()
    except XrecError as error:
        raise RecipeError(f"{where}: {error}") from error
    if made.digest() == base.digest():
        raise RecipeError(f"{where}: it changes nothing of the model as trained; remove it")
    return made


def _changed(base: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with some options of a section, or, where it names its plugin, all of them."""
    parts = {
        key: value
        for key, value in changes.items()
        if isinstance(value, Mapping) and "name" not in value
    }
    whole = {key: value for key, value in changes.items() if key not in parts}
    given = {f"{key}.{name}": each for key, part in parts.items() for name, each in part.items()}
    return Recipe.of({**base.resolved, **whole}).changed(given)


def _installed(base: Recipe, tell: Tell) -> Iterator[tuple[str, Recipe]]:
    """A variant for each compressor and mechanism, called by its name."""
    for key, kind in KINDS.items():
        for listing in plugins.listings(kind):
            made = _changed(base, {key: [listing.name]})
            try:
                made.check()
            except XrecError as error:
                tell(f"left out: {kind} '{listing.name}': {error}")
                continue
            yield listing.name, made
