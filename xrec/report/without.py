"""What people are told of a counterfactual: what would change without which features."""

from __future__ import annotations

from collections import Counter

from xrec.data.features import BEHAVIOUR
from xrec.explain.explanation import Explanation
from xrec.explain.removal import Removal
from xrec.report import words
from xrec.report.section import Bar, Card


def card(told: Explanation, row: int, user: str, item: str) -> Card:
    """The features without which the item's place would be another, and what was found of them.

    Raises ValueError for an explanation that sought none.
    """
    told, removal = told.summed(), _of(told)
    bars = [
        Bar(
            words.feature(int(told.features.group[row, slot]), told.features.name(row, slot)),
            float(told.values[row, slot]),
        )
        for slot in _members(told, row)
    ]
    score, base = float(told.score[row]), float(told.base[row])
    lost = f", {words.minus(base)} without what is named" if bars else ""
    note = (
        f"Score {words.minus(score)} with all features{lost}. Explained by {told.explainer}, "
        f"which tried {int(removal.evaluations[row]):,} sets of features."
    )
    return Card(item, [sentence(told, row, user, item), *_proof(told, row)], bars, [], note)


def sentence(told: Explanation, row: int, user: str, item: str) -> str:
    """What would change without which features, or that nothing was found that would."""
    told, removal = told.summed(), _of(told)
    inside, named = bool(removal.inside[row]), _named(told, row)
    place = f"among the first {removal.k} for {user}"
    if removal.k == 1:
        place = f"the first choice for {user}"
    is_so, is_not = ("would be", "would not be") if inside else ("would not be", "would be")
    if named:
        return f"Without {words.listed(named)}, “{item}” {is_not} {place}."
    if removal.proven[row]:
        return f"“{item}” {is_so} {place} whichever past events were missing."
    return (
        f"No past events were found without which “{item}” {is_not} {place}; there may be some, as "
        "not all sets of them were tried."
    )


def _proof(told: Explanation, row: int) -> list[str]:
    """Whether fewer features would do as well, where that is a question."""
    removal = _of(told)
    if int(removal.size[row]) < 2:
        return []
    if removal.proven[row]:
        return ["Fewer would not do: all smaller sets were tried."]
    return ["Fewer may do: not all smaller sets were tried."]


def _named(told: Explanation, row: int) -> list[str]:
    """The members as a sentence has them; of what happened more than once, how many times."""
    slots = _members(told, row)
    keys = [(int(told.features.group[row, at]), told.features.name(row, at)) for at in slots]
    every = Counter(
        (int(told.features.group[row, at]), told.features.name(row, at))
        for at in told.present[row].nonzero()[:, 0].tolist()
    )
    return [
        (f"“{name}”" if group == BEHAVIOUR else words.reason(group, name))
        + (f" ({count} of {every[group, name]} times)" if count < every[group, name] else "")
        for (group, name), count in Counter(keys).items()
    ]


def _members(told: Explanation, row: int) -> list[int]:
    slots: list[int] = _of(told).members[row].nonzero()[:, 0].tolist()
    return slots


def _of(told: Explanation) -> Removal:
    if told.removal is None:
        raise ValueError(f"{told.explainer} sought no features to take away")
    return told.removal
