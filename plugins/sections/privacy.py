"""What is protected of the people in the data, how well, and what is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.report.section import Block, Chapter, Table, Terms, Text
from xrec.report.words import plain
from xrec.runs.run import Run

ACCOUNTANTS = {
    "prv": "privacy loss random variables (PRV)",
    "rdp": "Rényi differential privacy (RDP)",
}


@dataclass(frozen=True)
class Privacy:
    """The budget of private training, what of it was spent, and what it covers."""

    def render(self, run: Run) -> Chapter:
        """Read `privacy/dp_sgd.json`, if the recipe trains by it."""
        blocks: list[Block] = []
        if any(choice.name == "dp_sgd" for choice in run.recipe.privacy):
            blocks = _dp_sgd(run.store.json("privacy/dp_sgd.json"))
        return Chapter("What is kept private", blocks)


def _dp_sgd(told: dict[str, Any]) -> list[Block]:
    lists = (("covered", "What the guarantee covers"), ("not_covered", "What it does not cover"))
    terms = [Terms([(term, said) for term, said in told[key]], title) for key, title in lists]
    return [*map(Text, _sentences(told)), *_table(told), *terms]


def _sentences(told: dict[str, Any]) -> list[str]:
    unit = told["unit"]
    said = [
        "The model was trained by differentially private gradient descent (DP-SGD). Whether or "
        f"not one {unit} was there changes the chance of any weights that training could end with "
        "by a factor of at most e to the power of epsilon, but for a probability of delta: epsilon "
        f"is {told['spent']:.2f}, of a budget of {told['epsilon']:g}, at delta {told['delta']:g}."
    ]
    if told["level"] == "example":
        said.append(
            "The guarantee is for single windows of training, not for users: a user who has "
            "several is less protected, the more they have."
        )
    if told["stopped"]:
        said.append(
            f"The budget ended training: of {told['planned']:,} steps that were planned, "
            f"{told['steps']:,} were taken."
        )
    if told["repeatable"]:
        said.append(
            "The noise was drawn by a seed, as in tests: whoever knows it can take the noise away, "
            "so that nothing is guaranteed."
        )
    return said


def _table(told: dict[str, Any]) -> list[Table]:
    """The figures that the guarantee follows from; none where nothing was learned."""
    if not told["steps"]:
        return []
    rows = [
        (f"{plain(told['unit'])}s", f"{told['units']:,}"),
        ("steps", f"{told['steps']:,}"),
        (f"chance of a {told['unit']} to be in a step", f"{told['sample_rate']:.4f}"),
        ("norm that gradients are clipped to", f"{told['clip']:g}"),
        ("noise, over that norm", f"{told['noise_multiplier']:.3f}"),
    ]
    if told.get("counts"):
        said = f"noise of how often items were had, over what a {told['unit']} adds to that"
        rows.append((said, f"{told['counts']['noise']:.3f}"))
    notes = f"Accounted by {ACCOUNTANTS[told['accountant']]}."
    return [Table(("what", "value"), rows, notes, caption="What the guarantee follows from")]


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the privacy section."""
    return {"privacy": Privacy}
