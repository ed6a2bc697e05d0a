"""An explained recommendation as a card that a person can read."""

from __future__ import annotations

from xrec.data.features import BEHAVIOUR, OTHER, PROFILE, SOCIAL
from xrec.explain.explanation import Explanation
from xrec.report import without, words
from xrec.report.section import Bar, Card

PERSONAL = (BEHAVIOUR, PROFILE, SOCIAL)  # the groups that tell of the user
SHOWN = 8  # contributions on a card
NAMED = 3  # reasons in its sentence
SEEN = 0.005  # the least that two decimals show
SLIGHT = 0.1  # of the first reason: what matters less is no reason to name


def card(told: Explanation, row: int, user: str, item: str, within: int | None = None) -> Card:
    """What mattered most in one row of an explanation, and the sum of each group.

    Parts are added up to what they are part of, words to events. Its sentences name the largest
    positive contributions, what of the user speaks most for the item and against it, and the words
    within one slot, else within the first reason: nothing that the explanation does not say. What
    would change without some features, where that was sought, has a card of its own.
    """
    if told.removal is not None:
        return without.card(told, row, user, item)
    parts, told = told, told.summed()
    slots = [
        slot for slot in told.top(SHOWN)[row].tolist() if slot >= 0 and _named(told, row, slot)
    ]
    bars = [Bar(_bar_name(told, row, slot), float(told.values[row, slot])) for slot in slots]
    whole = float(told.values[row].sum())
    left = int(told.present[row].sum()) - len(slots)
    if left:
        bars.append(Bar(f"{left} more", whole - sum(bar.value for bar in bars)))
    groups = [
        Bar(words.GROUPS.get(name, name), float(sums[row]))
        for name, sums in told.by_group().items()
    ]
    lines = [
        _because(told, row, user),
        *_known(told, row, user),
        *_within(parts, told, row, within),
    ]
    return Card(item, lines, bars, groups, _note(told, row))


def _named(told: Explanation, row: int, slot: int) -> bool:
    """Whether a feature is told by its name, not by its group alone."""
    return told.features.name(row, slot) != OTHER


def _bar_name(told: Explanation, row: int, slot: int) -> str:
    return words.feature(int(told.features.group[row, slot]), told.features.name(row, slot))


def _reason(told: Explanation, row: int, slot: int) -> str:
    return words.reason(int(told.features.group[row, slot]), told.features.name(row, slot))


def _because(told: Explanation, row: int, user: str) -> str:
    value, teller = told.values[row], words.plain(told.explainer)
    order = [slot for slot in value.argsort(descending=True).tolist() if value[slot] > 0]
    if not order:
        return f"Recommended to {user}, though {teller} names nothing that speaks for it."
    named = [slot for slot in order[:NAMED] if value[slot] >= SLIGHT * value[order[0]]]
    named = [slot for slot in named if _named(told, row, slot)] or named[:1]
    reasons = list(dict.fromkeys(_reason(told, row, slot) for slot in named))
    return f"Recommended to {user} because of {words.listed(reasons)}, says {teller}."


def _known(told: Explanation, row: int, user: str) -> list[str]:
    """What of the user, not of the item, speaks most for it and most against it."""
    group, value = told.features.group[row], told.values[row]
    own = [
        slot
        for slot in told.present[row].nonzero()[:, 0].tolist()
        if int(group[slot]) in PERSONAL and _named(told, row, slot)
    ]
    ends = [(max, 1, "for"), (min, -1, "against")]
    parts = [
        f"{_reason(told, row, slot)} speaks most {way} it ({words.signed(float(value[slot]))})"
        for best, sign, way in ends
        if own and sign * value[slot := best(own, key=lambda s: float(value[s]))] >= SEEN
    ]
    return [f"Of what is known of {user}, {words.listed(parts)}."] if parts else []


def _within(parts: Explanation, told: Explanation, row: int, slot: int | None) -> list[str]:
    """The words that matter most within a feature, else within that which matters most."""
    asked, slot = slot is not None, int(told.top(1)[row, 0]) if slot is None else slot
    inside = [at for at in parts.parts(row, slot) if abs(float(parts.values[row, at])) >= SEEN]
    if not inside:
        none = f"Within {_reason(told, row, slot)}, no word moves the score by {SEEN} or more."
        return [none] if asked else []
    named = [
        f"“{parts.features.name(row, at)}” ({words.signed(float(parts.values[row, at]))})"
        for at in inside[:NAMED]
    ]
    return [f"Within {_reason(told, row, slot)}, what matters most: {words.listed(named)}."]


def _note(told: Explanation, row: int) -> str:
    score, base, error = (float(each[row]) for each in (told.score, told.base, told.error))
    size = f"{error:.2g}" if error >= 0.001 else "below 0.001"
    doubt = f"its own estimate of its error is {size} logits"
    if error != error:  # NaN: it has none
        doubt = "it gives no estimate of its error"
    by = f"{told.explainer}, by {told.gradients} gradients" if told.gradients else told.explainer
    return (
        f"Score {words.minus(score)} with all features, {words.minus(base)} with none: a "
        f"difference of {words.signed(score - base)} logits, and the contributions add up to "
        f"{words.signed(float(told.values[row].sum()))}. Explained by {by}; {doubt}."
    )
