"""A card says what the explanation says, and nothing else."""

from __future__ import annotations

import pytest
import torch

from xrec.data.features import BEHAVIOUR, FIXED, ITEM, PROFILE, FeatureIndex
from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.report.card import SHOWN, card

PAST = tuple(f"Film {at}" for at in range(20))
NAMES = {
    FIXED: ("query",),
    BEHAVIOUR: PAST,
    PROFILE: ("", "job: nurse"),
    ITEM: ("text", "identity", "genre: crime"),
}


def explanation(slots: list[tuple[int, int, float]], score: float = 1.0, base: float = 0.0, **more):
    """One row with a fixed slot and the given (group, key, value) slots."""
    slots = [(FIXED, 0, 0.0), *slots]
    group, key = (torch.tensor([[slot[at] for slot in slots]]) for at in (0, 1))
    values = torch.tensor([[slot[2] for slot in slots]])
    return Explanation(
        values,
        group != FIXED,
        FeatureIndex(group, key, torch.full_like(key, -1), NAMES),
        torch.tensor([score]),
        torch.tensor([base]),
        torch.tensor([more.get("error", 0.0)]),
        Cost(),
        "kernel_shap",
    )


def test_the_sentence_names_the_largest_that_speak_for_it() -> None:
    told = explanation(
        [
            (BEHAVIOUR, 1, 0.5),
            (BEHAVIOUR, 2, -3.0),
            (PROFILE, 1, 0.9),
            (ITEM, 2, 0.7),
            (ITEM, 0, 0.4),
        ]
    )
    first, second = card(told, 0, "user u1", "Heat").lines
    assert first == (
        "Recommended to user u1 because of their job (nurse), its genre (crime) and "
        "their past “Film 1”, says kernel shap."
    )
    assert second == (
        "Of what is known of user u1, their job (nurse) speaks most for it (+0.90) and "
        "their past “Film 2” speaks most against it (−3.00)."
    )


def test_what_hardly_matters_is_no_reason() -> None:
    told = explanation([(BEHAVIOUR, 1, 2.0), (BEHAVIOUR, 2, 0.19), (BEHAVIOUR, 3, 0.2)])
    line = card(told, 0, "user u1", "Heat").lines[0]
    assert "because of their past “Film 1” and their past “Film 3”, says" in line


def test_the_same_item_twice_is_named_once() -> None:
    told = explanation([(BEHAVIOUR, 1, 2.0), (BEHAVIOUR, 1, 1.9), (PROFILE, 1, 1.0)])
    line = card(told, 0, "user u1", "Heat").lines[0]
    assert line.count("Film 1") == 1
    assert "their job (nurse)" in line


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_no_reason_is_made_up(value: float) -> None:
    told = explanation([(BEHAVIOUR, 1, value), (ITEM, 0, value)])
    shown = card(told, 0, "user u1", "Heat")
    assert shown.lines[0] == (
        "Recommended to user u1, though kernel shap names nothing that speaks for it."
    )
    assert "speaks most for" not in " ".join(shown.lines)
    assert len(shown.lines) == (2 if value else 1)


def test_reasons_are_found_beyond_the_bars_that_are_shown() -> None:
    slots = [(BEHAVIOUR, at, -5.0) for at in range(1, SHOWN + 1)]
    told = explanation([*slots, (PROFILE, 1, 0.5)])
    shown = card(told, 0, "user u1", "Heat")
    assert "job: nurse" not in {bar.name for bar in shown.bars}
    assert "because of their job (nurse), says" in shown.lines[0]


def test_the_item_is_not_what_is_known_of_the_user() -> None:
    told = explanation([(ITEM, 0, 3.0), (ITEM, 1, -3.0)])
    assert len(card(told, 0, "user u1", "Heat").lines) == 1


def test_bars_are_the_largest_and_the_rest_together() -> None:
    values = [((-1) ** at) * (20 - at) / 10 for at in range(12)]
    told = explanation([(BEHAVIOUR, at, value) for at, value in enumerate(values)])
    bars = card(told, 0, "user u1", "Heat").bars
    assert [bar.name for bar in bars[:-1]] == [f"past: Film {at}" for at in range(SHOWN)]
    assert [bar.value for bar in bars[:-1]] == pytest.approx(values[:SHOWN])
    assert bars[-1].name == "4 more"
    assert sum(bar.value for bar in bars) == pytest.approx(sum(values), abs=1e-5)


def test_groups_have_the_sums_of_their_members() -> None:
    slots = [(BEHAVIOUR, 1, 0.5), (BEHAVIOUR, 2, -3.0), (PROFILE, 1, 0.9), (ITEM, 2, 0.7)]
    groups = {bar.name: bar.value for bar in card(explanation(slots), 0, "u", "Heat").groups}
    assert groups == pytest.approx({"past events": -2.5, "profile": 0.9, "the item itself": 0.7})


def test_the_note_says_score_base_sum_explainer_and_error() -> None:
    told = explanation([(BEHAVIOUR, 1, 2.0), (ITEM, 0, 0.5)], score=1.25, base=-0.5, error=0.75)
    note = card(told, 0, "user u1", "Heat").note
    assert "Score 1.25 with all features, −0.50 with none" in note
    assert "a difference of +1.75 logits" in note
    assert "add up to +2.50" in note
    assert "kernel_shap" in note
    assert "error is 0.75 logits" in note
    told = explanation([(BEHAVIOUR, 1, 2.0)], error=4e-7)
    assert "error is below 0.001 logits" in card(told, 0, "user u1", "Heat").note
