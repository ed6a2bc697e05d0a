"""What README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from xrec.recipe import Recipe
from xrec.testing import check_explainer, small_model

README = (Path(__file__).parents[1] / "README.md").read_text()


def block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)[0]


def test_the_explainer_keeps_the_contract() -> None:
    names: dict = {"__name__": "readme"}
    exec(block("python"), names)
    (factory,) = names["xrec_explainers"]().values()
    check_explainer(factory(), *small_model())


def test_the_recipe_is_one(tmp_path: Path) -> None:
    (tmp_path / "readme.yaml").write_text(block("yaml"))
    assert Recipe.load(tmp_path / "readme.yaml").check()
