"""What README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xrec.recipe import Recipe
from xrec.testing import check_explainer, small_model

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


RECIPES = [block for block in blocks("yaml") if block.startswith("name: ")]  # others are parts


def test_the_explainer_keeps_the_contract() -> None:
    names: dict = {"__name__": "readme"}
    exec(blocks("python")[0], names)
    (factory,) = names["xrec_explainers"]().values()
    check_explainer(factory(), *small_model())


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipes_are_such(tmp_path: Path, recipe: str) -> None:
    (tmp_path / "readme.yaml").write_text(recipe)
    assert Recipe.load(tmp_path / "readme.yaml").check()


def test_the_recipes_are_two() -> None:
    assert len(RECIPES) == 2
