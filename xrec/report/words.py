"""The words that a report has for what artefacts call by shorter names."""

from __future__ import annotations

import inspect
import re
import sys
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


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: a, b and c."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def minus(value: float) -> str:
    """A number of two decimals, with a real minus sign."""
    return f"{value:.2f}".replace("-", "−")


def signed(value: float) -> str:
    """A number of two decimals and its sign, whatever that is."""
    return f"{value:+.2f}".replace("-", "−")


def percent(share: float, decimals: int = 0) -> str:
    """A share in percent, which no line break parts from its sign."""
    return f"{100 * share:.{decimals}f}\N{NO-BREAK SPACE}%"


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


def meaning(plugin: object, measure: str = "") -> str:
    """What a plugin says of itself, for a footnote: two sentences at most, from its docstrings.

    The first line of its module if that has the form "Name: what it is.", and the first sentence
    of its class, or what the class says after the name of one of its measures, "measure: …"; of
    measures that differ in a number, such as pos@5 and pos@10, it says it once, "pos@k: …".
    """
    kind = type(plugin)
    line = (sys.modules[kind.__module__].__doc__ or "").strip().split("\n")[0]
    text = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    if text.startswith(f"{kind.__name__}("):  # what `dataclass` writes where there is none
        text = ""
    parts = (line.partition(": ")[2], _of_measure(text, measure) or _first_sentence(text))
    return " ".join(part[0].upper() + part[1:] for part in map(_joined, parts) if part)


def _of_measure(text: str, measure: str) -> str:
    """What a docstring says after a measure's name, with its number for k; "" if nothing."""
    family, _, number = measure.partition("@")
    name = f"{family}@k" if number.isdigit() else measure
    told = re.search(rf"^{re.escape(name)}: (.+?)(?=\n[\w@]+: |\n\n|\Z)", text, re.M | re.S)
    if not measure or not told:
        return ""
    return re.sub(r"\bk\b", number, told[1]) if number.isdigit() else told[1]


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s+(?=[A-Z])", text.split("\n\n")[0])[0]


def _joined(text: str) -> str:
    return " ".join(text.split())


def standing(explainer: object) -> str:
    """What an explainer is by its own word: "floor", "heuristic", "ceiling", or "" for itself."""
    return getattr(explainer, "standing", "")
