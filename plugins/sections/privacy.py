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


STRATEGIES = {"fedavg": "FedAvg", "fedprox": "FedProx"}


@dataclass(frozen=True)
class Privacy:
    """How training was private, what of a budget it spent, and what it covers."""

    def render(self, run: Run) -> Chapter:
        """Read what those of the recipe's mechanisms told that train the model."""
        blocks: list[Block] = []
        for choice in run.recipe.privacy:
            name = f"privacy/{choice.name}.json"
            if choice.name in TOLD and (run.folder / name).is_file():
                blocks += TOLD[choice.name](run.store.json(name))
        return Chapter("What is kept private", blocks)


def _dp_sgd(told: dict[str, Any]) -> list[Block]:
    return [*map(Text, _sentences(told)), *_table(told), *_bounds(told)]


def _bounds(told: dict[str, Any]) -> list[Block]:
    """What is covered, and what is not."""
    lists = (("covered", "What the guarantee covers"), ("not_covered", "What it does not cover"))
    return [Terms([(term, said) for term, said in told[key]], title) for key, title in lists]


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
    notes = f"Accounted by {ACCOUNTANTS[told['accountant']]}."
    return [Table(("what", "value"), rows, notes, caption="What the guarantee follows from")]


def _federated(told: dict[str, Any]) -> list[Block]:
    said = [
        f"The model was trained by {told['clients']:,} clients in {told['rounds']:,} rounds "
        f"({STRATEGIES[told['strategy']]}): each kept its users' events, and sent weights."
    ]
    if told["secure_aggregation"]:
        said.append("Updates were masked, so that the server learned their sum alone (SecAgg+).")
    if told["spent"] is not None:
        said.append(
            "Noise hides whether a client took part, with all of its users: epsilon is "
            f"{told['spent']:.2f}, of a budget of {told['epsilon']:g}, at delta "
            f"{told['delta']:g}. Each client's update was clipped to a norm of {told['clip']:g}; "
            f"the noise's deviation was {told['noise_multiplier']:.3f} times that."
        )
    left = [(why, f"{count:,}") for why, count in told["left_out"].items()]
    table = Table(("why", "updates"), left, caption="Updates that were left out")
    return [*map(Text, said), *([table] if left else []), *_bounds(told)]


TOLD = {"dp_sgd": _dp_sgd, "federated": _federated}


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the privacy section."""
    return {"privacy": Privacy}
