"""What the model and its explanations tell of those whose histories they learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.audit import telling
from xrec.audit.reconstruction import ALL, GUESSES
from xrec.report.section import Block, Chapter, Table, Text
from xrec.report.summary import interval
from xrec.report.words import percent, plain
from xrec.runs.run import AUDIT, Run

TITLE = "What leaks"
NOTES = (
    "AUC: how often an attacker is surer of a user who was in training than of one who was not; "
    "0.5 is chance. It is a mean over shadows, with its 95 % interval over users. Found at 1 %: of "
    "those in training, the share found while 1 % of the others are taken for them; none where "
    "there are too few others. Threshold: one for all users. LiRA: against how sure other "
    "models are of the same user, those that knew them and those that did not; offline: the latter "
    "alone; pooled: both, as if to be known did the same to all users; of an explanation by its "
    "values together where the others go by their sum. By events: whether the last event that a "
    "user was trained on is told from their test event by the run's own model; those differ in "
    "more than that."
)
RELEASED = (
    "Precision: the share of the guesses that the user had. Recall: the share of what they had "
    "that is guessed. Named: the share that need not be guessed, as the explanation says it. "
    "Without names, an attacker goes by what was recommended alone; one who has the model may find "
    "more."
)


@dataclass(frozen=True)
class Audit:
    """What attacks on the model and on its explanations found, if there were any."""

    def render(self, run: Run) -> Chapter:
        """Read `audit/audit.json`; a chapter without blocks if the run was not audited."""
        if not (run.folder / AUDIT).is_file():
            return Chapter(TITLE)
        found = run.store.json(AUDIT)
        head, rows = telling.attacks(found, interval)
        caption = "How well it is told who was in training"
        blocks: list[Block] = [
            Text(_about(found)),
            Text(_epsilon(found)),
            Table(head, rows, NOTES, caption=caption),
        ]
        return Chapter(TITLE, [*blocks, *_guesses(found)])


def _about(found: Mapping[str, Any]) -> str:
    asked = found["asked"]
    return (
        f"{asked['shadows']} models were trained as this one was, each on a half of the users, "
        f"{found['trained_on']:,} of them, drawn at random. Each was attacked in turn with the "
        f"help of the others: which of {asked['users']:,} users has it learned from? An attack "
        "that fails does not show that none would succeed."
    )


def _epsilon(found: Mapping[str, Any]) -> str:
    """What is claimed of epsilon, beside what the attack that was chosen beforehand shows."""
    said, shown = found["epsilon"], found["model"]["lira_pooled"]["epsilon"]
    least = (
        f"Pooled LiRA on the model shows that epsilon is at least {shown:.2f} per user, at a "
        f"confidence of {percent(said['confidence'])} and a delta of {said['delta']:g}"
    )
    if said["claimed"] is None:
        return f"No privacy is claimed of this run. {least}."
    claimed, level = said["claimed"]["epsilon"], said["claimed"].get("level", "user")
    if level != "user":
        return f"Claimed is an epsilon of {claimed:.2f} per {level}. {least}: that is not the same."
    verdict = "which contradicts it" if shown > claimed else "which does not contradict it"
    return f"Claimed is an epsilon of {claimed:.2f} per user. {least}, {verdict}."


def _guesses(found: Mapping[str, Any]) -> list[Block]:
    """What can be guessed of a history from an explanation; nothing if none was audited."""
    if "reconstruction" not in found:
        return []
    label = plain(found["asked"]["explainer"])
    named = found["reconstruction"][ALL]["named"]["mean"]
    about = (
        f"An explanation that names past events discloses them: by {label}, as the run writes it, "
        f"{percent(named)} of a history. Below, {GUESSES} items are guessed of each user, unless "
        "all are named, from an explanation of their first recommendation as it would be released "
        "and from what others had."
    )
    head, rows = telling.guesses(found, interval)
    return [Text(about), Table(head, rows, RELEASED, caption="How much of a history is guessed")]


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the section on what leaks."""
    return {"audit": Audit}
