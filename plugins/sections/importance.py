"""What matters overall, as it was released with noise."""

from __future__ import annotations

from dataclasses import dataclass

from xrec import hookimpl
from xrec.report.section import Chapter, Table, Text
from xrec.report.words import GROUPS, percent, plain
from xrec.runs.run import Run
from xrec_plugins.privacy.private_explanations import IMPORTANCE

TITLE = "What matters overall"


@dataclass(frozen=True)
class Importance:
    """The share of each kind of feature in all explanations, differentially private."""

    def render(self, run: Run) -> Chapter:
        """Read `importance.json`; a chapter without blocks if the run released none."""
        if not (run.folder / IMPORTANCE).is_file():
            return Chapter(TITLE)
        told = run.store.json(IMPORTANCE)
        labels = list(dict.fromkeys(row["explainer"] for row in told["rows"]))
        kinds = list(dict.fromkeys(row["kind"] for row in told["rows"]))
        share = {(row["kind"], row["explainer"]): row["share"] for row in told["rows"]}
        rows = [
            [GROUPS.get(kind, plain(kind)), *(percent(share[kind, label]) for label in labels)]
            for kind in kinds
        ]
        return Chapter(TITLE, [Text(_about(told)), Table(["kind", *map(plain, labels)], rows)])


def _about(told: dict[str, float]) -> str:
    return (
        f"The share of each kind of feature in what was said to {told['users']:,} users, by the "
        f"size of contributions, with Gaussian noise that keeps epsilon {told['epsilon']:g} at "
        f"delta {told['delta']:g} for each of them: a share is off by "
        f"{percent(told['sigma'] / told['users'], 1)} (one deviation). Single explanations are not "
        "covered by that: they are coarsened, name few features, and are for the user alone. Nor "
        "is what the model learned from people, unless it was trained privately."
    )


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the section."""
    return {"importance": Importance}
