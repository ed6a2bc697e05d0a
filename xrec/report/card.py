"""An explained recommendation as a card that a person can read."""

from __future__ import annotations

from xrec.data.features import BEHAVIOUR, ITEM
from xrec.explain.explanation import Explanation
from xrec.report.section import Bar, Card

SHOWN = 8  # contributions on a card


def card(told: Explanation, row: int, user: str, item: str) -> Card:
    """What mattered most in one row of an explanation, and the sum of each group."""
    slots = [slot for slot in told.top(SHOWN)[row].tolist() if slot >= 0]
    bars = [Bar(_named(told, row, slot), float(told.values[row, slot])) for slot in slots]
    rest = float(told.values[row].sum()) - sum(bar.value for bar in bars)
    left = int(told.present[row].sum()) - len(slots)
    if left:
        bars.append(Bar(f"{left} more", rest))
    groups = [Bar(f"all {name}", float(sums[row])) for name, sums in told.by_group().items()]
    score, base, error = (float(each[row]) for each in (told.score, told.base, told.error))
    lines = [f"Recommended to {user}: logit {score:.2f}, from {base:.2f} with nothing known."]
    note = f"Explained by {told.explainer}; its own estimate of its error is {error:.2g} logits."
    return Card(item, lines, bars, groups, note)


def _named(told: Explanation, row: int, slot: int) -> str:
    group = int(told.features.group[row, slot])
    prefix = {BEHAVIOUR: "past: ", ITEM: "this item's "}.get(group, "")
    return prefix + told.features.name(row, slot)
