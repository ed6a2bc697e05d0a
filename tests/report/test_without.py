"""What is said of a counterfactual is what was found, and nothing else."""

from __future__ import annotations

import pytest
import torch

from xrec.data.features import BEHAVIOUR, FIXED, PROFILE, FeatureIndex
from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.explain.removal import Removal
from xrec.report.card import card
from xrec.report.without import sentence

NAMES = {
    FIXED: ("query",),
    BEHAVIOUR: ("", "Alien", "Brazil", "Clue"),
    PROFILE: ("", "job: nurse"),
}
SLOTS = [(FIXED, 0), (BEHAVIOUR, 1), (BEHAVIOUR, 2), (BEHAVIOUR, 3), (BEHAVIOUR, 1), (PROFILE, 1)]


def found(*members: int, k: int = 10, inside: bool = True, proven: bool = True) -> Explanation:
    """One row of a fixed slot, Alien, Brazil, Clue, Alien again and a profile value."""
    group, key = (torch.tensor([[slot[at] for slot in SLOTS]]) for at in (0, 1))
    taken = torch.zeros(1, len(SLOTS), dtype=torch.bool)
    taken[0, list(members)] = True
    values = torch.where(taken, 1.5 / max(len(members), 1), 0.0)
    removal = Removal(
        k, taken, torch.tensor([inside]), torch.tensor([proven]), torch.tensor([1234])
    )
    return Explanation(
        values,
        group != FIXED,
        FeatureIndex(group, key, torch.full_like(key, -1), NAMES),
        torch.tensor([2.0]),
        torch.tensor([0.5 if members else 2.0]),
        removal.error,
        Cost(),
        "counterfactual",
        removal=removal,
    )


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (found(2, 3), "Without “Brazil” and “Clue”, “Dune” would not be among the first 10 for u."),
        (found(2, inside=False), "Without “Brazil”, “Dune” would be among the first 10 for u."),
        (found(2, k=1), "Without “Brazil”, “Dune” would not be the first choice for u."),
        (
            found(1, 2),
            "Without “Alien” (1 of 2 times) and “Brazil”, “Dune” would not be among the first 10 "
            "for u.",
        ),
        (found(1, 4), "Without “Alien”, “Dune” would not be among the first 10 for u."),
        (found(5), "Without their job (nurse), “Dune” would not be among the first 10 for u."),
        (found(), "“Dune” would be among the first 10 for u whichever past events were missing."),
        (
            found(inside=False),
            "“Dune” would not be among the first 10 for u whichever past events were missing.",
        ),
        (
            found(proven=False),
            "No past events were found without which “Dune” would not be among the first 10 for u; "
            "there may be some, as not all sets of them were tried.",
        ),
        (
            found(proven=False, inside=False, k=1),
            "No past events were found without which “Dune” would be the first choice for u; there "
            "may be some, as not all sets of them were tried.",
        ),
    ],
)
def test_the_sentence_says_what_was_found(told: Explanation, said: str) -> None:
    assert sentence(told, 0, "u", "Dune") == said
    assert card(told, 0, "u", "Dune").lines[0] == said


@pytest.mark.parametrize(
    ("told", "proof"),
    [
        (found(2, 3), ["Fewer would not do: all smaller sets were tried."]),
        (found(2, 3, proven=False), ["Fewer may do: not all smaller sets were tried."]),
        (found(2), []),
        (found(), []),
    ],
)
def test_whether_fewer_would_do_is_said_where_it_is_a_question(told, proof: list[str]) -> None:
    assert card(told, 0, "u", "Dune").lines[1:] == proof


def test_a_card_has_bars_of_the_members_alone() -> None:
    shown = card(found(2, 3), 0, "u", "Dune")
    assert shown.title == "Dune"
    assert [(bar.name, bar.value) for bar in shown.bars] == [
        ("past: Brazil", 0.75),
        ("past: Clue", 0.75),
    ]
    assert not shown.groups
    assert shown.note == (
        "Score 2.00 with all features, 0.50 without what is named. Explained by counterfactual, "
        "which tried 1,234 sets of features."
    )
    nothing = card(found(), 0, "u", "Dune")
    assert not nothing.bars
    assert nothing.note.startswith("Score 2.00 with all features. Explained by")


def test_parts_are_told_as_what_they_are_part_of() -> None:
    told = found(4, 5)
    parent = torch.tensor([[-1, -1, -1, -1, 2, 2]])
    key = told.features.key.clone()
    group = torch.tensor([[FIXED, *[BEHAVIOUR] * 5]])
    features = FeatureIndex(group, key, parent, NAMES)
    present = torch.tensor([[False, True, False, True, True, True]])
    parted = Explanation(
        told.values,
        present,
        features,
        told.score,
        told.base,
        told.error,
        told.cost,
        told.explainer,
        removal=told.removal,
    )
    shown = card(parted, 0, "u", "Dune")
    assert [bar.name for bar in shown.bars] == ["past: Brazil"]
    assert shown.bars[0].value == pytest.approx(1.5)
    assert shown.lines == ["Without “Brazil”, “Dune” would not be among the first 10 for u."]


def test_an_explanation_that_sought_nothing_has_no_such_sentence() -> None:
    told = found(2)
    plain = Explanation(
        told.values,
        told.present,
        told.features,
        told.score,
        told.base,
        told.error,
        told.cost,
        "recency",
    )
    with pytest.raises(ValueError, match="recency sought no features to take away"):
        sentence(plain, 0, "u", "Dune")
