"""What is protected of the people in the data, how well, and what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.report.section import Block, Chapter, Table, Terms, Text
from xrec.report.words import percent, plain
from xrec.runs.run import Run

ACCOUNTANTS = {
    "prv": "privacy loss random variables (PRV)",
    "rdp": "Rényi differential privacy (RDP)",
    "pld": "privacy loss distributions",
}
LISTS = {"covered": "What the guarantee covers", "not_covered": "What it does not cover"}
SEEDED = (
    "The noise was drawn by a seed, as in tests: whoever knows it can take the noise away, so that "
    "nothing is guaranteed."
)
Told = Mapping[str, Any]


@dataclass(frozen=True)
class Privacy:
    """The budget of each mechanism, what of it was spent, and what it covers."""

    def render(self, run: Run) -> Chapter:
        """Read `privacy/<mechanism>.json` of the recipe's mechanisms that wrote one.

        What is not covered of what comes after training may be in `<mechanism>.after.json`.
        """
        blocks: list[Block] = []
        for choice in run.recipe.privacy:
            file, after = (f"privacy/{choice.name}{end}.json" for end in ("", ".after"))
            if choice.name in MECHANISMS and (run.folder / file).is_file():
                told = run.store.json(file)
                if (run.folder / after).is_file():
                    told["not_covered"] += run.store.json(after)["not_covered"]
                blocks += _blocks(choice.name, told)
        return Chapter("What is kept private", blocks)


def _blocks(mechanism: str, told: Told) -> list[Block]:
    """Sentences, the figures that the guarantee follows from if there are any, and its limits."""
    sentences, table = MECHANISMS[mechanism]
    terms = [Terms([(term, said) for term, said in told[key]], LISTS[key]) for key in LISTS]
    return [*map(Text, sentences(told)), *table(told), *terms]


def _figures(rows: Sequence[tuple[str, str]], notes: str = "") -> list[Table]:
    return [Table(("what", "value"), rows, notes, caption="What the guarantee follows from")]


def _dp_sgd(told: Told) -> list[str]:
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
    return [*said, SEEDED] if told["repeatable"] else said


def _of_steps(told: Told) -> list[Table]:
    """None where nothing was learned."""
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
    return _figures(rows, f"Accounted by {ACCOUNTANTS[told['accountant']]}.")


def _local_dp(told: Told) -> list[str]:
    said = [
        "What people did was randomised before anything was stored (local differential privacy). "
        "Whatever a user did, all that they reported together is at most e to the power of epsilon "
        f"times as likely as if they had done anything else: epsilon is {told['epsilon']:g}.",
        "A reported event is of the item that it says with a chance of "
        f"{percent(told['kept'], 1)}, else of any other. All figures are of what was reported.",
    ]
    return [*said, SEEDED] if told["repeatable"] else said


def _of_reports(told: Told) -> list[Table]:
    rows = [
        ("events reported", f"{told['reports']:,}"),
        ("events of a user, at most", f"{told['events']:,}"),
        ("epsilon of an event's item", f"{told['epsilon_item']:.3f}"),
        ("chance that an item is the true one", f"{told['kept']:.4f}"),
    ]
    if told["value_scale"] is not None:
        rows.append(("scale of the noise on a value", f"{told['value_scale']:.3g}"))
    return _figures(rows, "Items by randomised response, values by the Laplace mechanism.")


def _federated(told: Told) -> list[str]:
    masked = " The server learned the sum of their updates alone." * told["secure_aggregation"]
    said = [
        f"The model was trained by {told['clients']:,} clients, which keep the events of their "
        f"users, in {told['rounds']:,} rounds.{masked}"
    ]
    if told["epsilon"] is None:
        return [*said, "There is no noise on the weights, and nothing bounds what they give away."]
    said.append(
        "Whether or not one client took part, with all of its users, changes the chance of any "
        "weights by a factor of at most e to the power of epsilon, but for a probability of delta: "
        f"epsilon is {told['epsilon']:.2f}, at delta {told['delta']:g}."
    )
    return said


def _of_rounds(told: Told) -> list[Table]:
    if told["epsilon"] is None:
        return []
    rows = [
        ("clients", f"{told['clients']:,}"),
        ("rounds", f"{told['rounds']:,}"),
        ("chance of a client to be in a round", f"{told['fraction']:g}"),
        ("norm that updates are clipped to", f"{told['clip']:g}"),
        ("noise, over that norm", f"{told['noise_multiplier']:.3f}"),
    ]
    return _figures(rows, f"Accounted by {ACCOUNTANTS[told['accountant']]}.")


#: Of each mechanism, its sentences, and the table of its figures.
MECHANISMS: Mapping[str, tuple[Callable[[Told], list[str]], Callable[[Told], list[Table]]]] = {
    "dp_sgd": (_dp_sgd, _of_steps),
    "local_dp": (_local_dp, _of_reports),
    "federated": (_federated, _of_rounds),
}


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the privacy section."""
    return {"privacy": Privacy}
