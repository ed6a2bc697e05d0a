"""Words for what artefacts call by shorter names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from xrec.data.features import AUDIO, BEHAVIOUR, GROUPS, ITEM, PROFILE, SOCIAL
from xrec.plugins import factory
from xrec.report import words


@dataclass
class Told:
    """The first sentence (Someone et al., 2017). Options: none.

    first_measure: what the first
    says.
    second_measure: what the second says.
    family@k: what is said of the first k, key and x_k.
    other@k: what is said of others.

    Pitfall: first_measure: not this.
    """


class Silent:
    pass


@dataclass
class SilentOptions:
    size: int = 1


@pytest.mark.parametrize(
    ("names", "said"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (list("abc"), "a, b and c")],
)
def test_listed(names: list[str], said: str) -> None:
    assert words.listed(names) == said


def test_numbers_in_words() -> None:
    assert words.signed(-0.126) == "−0.13"
    assert words.signed(2) == "+2.00"
    assert words.minus(-1.5) == "−1.50"
    assert words.percent(0.226, 1) == "22.6\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(
    ("group", "name", "alone", "within"),
    [
        (BEHAVIOUR, "Alien: Part_2", "past: Alien: Part_2", "their past “Alien: Part_2”"),
        (PROFILE, "fond_of: dark_red", "fond of: dark_red", "their fond of (dark_red)"),
        (ITEM, "genres: Sci-Fi", "this item's genres: Sci-Fi", "its genres (Sci-Fi)"),
        (ITEM, "text", "this item's text", "its text"),
        (SOCIAL, "u7", "friend: u7", "their friend u7"),
        (AUDIO, "bar 3", "bar 3", "bar 3"),
    ],
)  # fmt: skip
def test_features_and_reasons(group: int, name: str, alone: str, within: str) -> None:
    assert words.feature(group, name) == alone
    assert words.reason(group, name) == within


def test_every_group_that_is_attributed_has_a_name() -> None:
    assert set(words.GROUPS) == set(GROUPS) - {"fixed"}


def test_meaning_is_taken_from_docstrings() -> None:
    here = "Words for what artefacts call by shorter names."  # no "Name: …", so not quoted
    assert here not in words.meaning(Told())
    assert words.meaning(Told()) == "The first sentence (Someone et al., 2017)."
    assert words.meaning(Told(), "first_measure") == "What the first says."
    assert words.meaning(Told(), "second_measure") == "What the second says."
    assert words.meaning(Told(), "third_measure") == "The first sentence (Someone et al., 2017)."
    assert words.meaning(Told(), "family@7") == "What is said of the first 7, key and x_k."
    assert words.meaning(Told(), "family@remove") == words.meaning(Told())
    assert words.meaning(Silent()) == ""
    assert words.meaning(SilentOptions()) == ""


def test_meaning_of_plugins_that_come_along() -> None:
    said = words.meaning(factory("metric", "deletion")(), "deletion")
    assert said.startswith("How fast the score falls as the features said to matter most are taken")
    truth = factory("metric", "planted_truth")()
    assert words.meaning(truth, "planted_precision") != words.meaning(truth, "planted_rank")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("random", "floor"),
        ("recency", "floor"),
        ("leave_one_out", "floor"),
        ("attention_rollout", "heuristic"),
    ],
)
def test_standing_of_plugins_that_come_along(name: str, kind: str) -> None:
    assert words.standing(factory("explainer", name)()) == kind


def test_standing_is_what_a_class_says_not_its_docstring() -> None:
    class Floor:
        """A heuristic: by this, at least."""

        standing: ClassVar[str] = "floor"

    assert words.standing(Floor()) == "floor"


def test_standing_of_what_claims_none() -> None:
    assert words.standing(factory("explainer", "kernel_shap")()) == ""
    assert words.standing(Told()) == ""
    assert words.standing(Silent()) == ""
