"""The variants of a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from xrec import Recipe
from xrec.bench.variants import BASE, OWN, variants
from xrec.errors import PluginError, RecipeError

GIVEN: dict[str, Any] = {
    "name": "it",
    "data": {"dataset": "planted"},
    "encoder": "hashed",
    "model": {"name": "sequential", "width": 16, "layers": 1},
    "explain": ["random"],
}


def recipe(**given: Any) -> Recipe:
    return Recipe.of({**GIVEN, **given})


def named(**given: Any) -> Recipe:
    return recipe(bench={"variants": given})


def test_nothing_named_and_nothing_installed_is_the_base_alone_and_says_so(bare) -> None:
    said: list[str] = []
    assert list(variants(recipe(), said.append)) == [BASE]
    (line,) = said
    assert "name variants under bench.variants" in line


def test_the_base_has_neither_compression_nor_privacy(installed) -> None:
    found = variants(recipe(compress=["coarse"], privacy=["forgetful"]))
    assert list(found) == [BASE, OWN, "broken", "coarse", "forgetful"]
    assert not found[BASE].compress
    assert not found[BASE].privacy
    assert found[BASE].digest() == recipe().digest()
    assert [each.name for each in (*found[OWN].compress, *found[OWN].privacy)] == [
        "coarse",
        "forgetful",
    ]


def test_installed_plugins_are_a_variant_each_but_those_that_cannot_be_made(installed) -> None:
    said: list[str] = []
    found = variants(recipe(), said.append)
    assert list(found) == [BASE, "broken", "coarse", "forgetful"]
    assert [each.name for each in found["coarse"].compress] == ["coarse"]
    assert not found["coarse"].privacy
    assert [each.name for each in found["forgetful"].privacy] == ["forgetful"]
    (line,) = said
    assert line.startswith("left out: compressor 'demanding': ")
    assert "compress[0].bits" in line


def test_named_variants_change_options_or_whole_plugins(installed) -> None:
    found = variants(
        named(
            finer={"compress": [{"name": "coarse", "step": 0.01}]},
            narrow={"model": {"width": 8}},
            plain={"model": {"name": "sequential"}},
            other={"encoder": {"size": 8}, "seed": 3},
        )
    )
    assert list(found) == [BASE, "finer", "narrow", "plain", "other"]
    assert found["finer"].compress[0].options == {"step": 0.01}
    assert found["narrow"].model.options == {"width": 8, "layers": 1}
    assert found["plain"].model.options == {}
    assert found["other"].encoder.name == "hashed"
    assert found["other"].encoder.options == {"size": 8}
    assert found["other"].seed == 3
    for each in found.values():
        assert [choice.label for choice in each.explain] == ["random"]


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"it": {"compress": ["corse"]}}, "bench.variants.it: unknown compressor 'corse': did you"),
        ({"it": {"compress": [{"name": "coarse", "stp": 1}]}}, "it: compress[0].stp: there is no"),
        ({"it": {"compress": ["demanding"]}}, "it: compress[0].bits: this option must be given"),
        ({"it": {"train": {"epochs": 0}}}, "bench.variants.it: train: epochs is 0"),
        ({"it": {"data": {"dataset": "planted"}}}, "bench.variants.it.data: a variant may change"),
        ({"it": {"explain": []}}, "bench.variants.it.explain: a variant may change compress, "),
        ({"it": ["coarse"]}, "bench.variants.it: expected what it changes, as in {compress: "),
        ({"it": {}}, "bench.variants.it: expected what it changes"),
        ({"it": {"model": {"width": 16}}}, "bench.variants.it: it changes nothing"),
        ({"a/b": {"seed": 1}}, "bench.variants.a/b: 'a/b' must be a word fit for a file's name"),
    ],
)
def test_a_bad_variant_is_named(installed, variant: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as error:
        variants(named(**variant))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bad_base_is_not_blamed_on_a_variant() -> None:
    with pytest.raises(PluginError, match="unknown explainer 'randm'"):
        variants(recipe(explain=["randm"], bench={"variants": {"it": {"seed": 1}}}))
