"""The words that a report has for what artefacts call by shorter names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence

from xrec.data.features import BEHAVIOUR, ITEM, PROFILE, SOCIAL

#: What a person calls the sum of a group of features.
GROUPS = {
    "behaviour": "past events",
    "profile": "profile",
    "item": "the item itself",
    "social": "friends",
    "text": "words",
    "image": "images",
    "audio": "sounds",
}
WAYS = {"higher": "higher is better", "lower": "lower is better"}


def plain(name: str) -> str:
    """The name of a plugin, a measure or an attribute as words: `kernel_shap` → "kernel shap"."""
    return name.replace("_", " ")


def listed(names: Sequence[str], last: str = "and") -> str:
    """ "a, b and c"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def feature(group: int, name: str) -> str:
    """A feature where it stands alone, beside a bar."""
    prefix = {BEHAVIOUR: "past: ", ITEM: "this item's ", SOCIAL: "friend: "}.get(group, "")
    return prefix + _attribute(name, "{}: {}")


def reason(group: int, name: str) -> str:
    """A feature as a reason within a sentence: their past “…”, its category (…)."""
    if group == BEHAVIOUR:
        return f"their past “{name}”"
    if group == SOCIAL:
        return f"their friend {name}"
    owner = {PROFILE: "their ", ITEM: "its "}.get(group, "")
    return owner + _attribute(name, "{} ({})")


def _attribute(name: str, form: str) -> str:
    """Values keep their spelling; only an attribute's own name is made plain."""
    attribute, colon, value = name.partition(": ")
    return form.format(plain(attribute), value) if colon else name


def summary_of(documented: object) -> str:
    """The first paragraph of the docstring that a plugin's own class has; "" if there is none."""
    text = type(documented).__dict__.get("__doc__") or ""
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def standing(explainer: object) -> str:
    """What an explainer's docstring says that it is: "floor", "heuristic", "ceiling", or "": what an explainer's docstring says that it is.

    The convention is a sentence that starts with "A floor:" or "A heuristic:".
    """
    found = re.search(r"\bA (floor|heuristic|ceiling):", type(explainer).__doc__ or "")
    return found[1] if found else ""
