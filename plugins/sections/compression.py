"""What compression did to the model, step by step, and whether its gradients outlived it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.compress.chain import QUALITY
from xrec.compress.slopes import Agreement, judged
from xrec.report.section import Chapter, Table, Text
from xrec.report.words import plain
from xrec.runs.run import Run

HEAD = ("step", "parameters", "MB", "ms to rank", "NDCG@10")
NOTES = (
    "Each as it was before the step and after it. MB: of all numbers that the model keeps. ms: the "
    "median to rank the catalogue for one user, both models in turns. NDCG@10: of the users who "
    "validate."
)
TRUTHS = {
    "twin": "those of the same weights in float32",
    "differences": "differences of its score",
}


@dataclass(frozen=True)
class Compression:
    """The chain of `compress:`; no blocks without one."""

    def render(self, run: Run) -> Chapter:
        """Read `compressed/`."""
        title = "What compression did"
        told = {
            f"{at}. {plain(choice.name)}": run.store.json(f"{name}.json")
            for at, (choice, name) in enumerate(
                zip(run.recipe.compress, run.steps, strict=True), start=1
            )
        }
        if not told:
            return Chapter(title)
        kept = [found for found in told.values() if found["taken"]]
        measured = {name: found for name, found in told.items() if "after" in found}
        table = Table(
            HEAD,
            [_row(name, found) for name, found in measured.items()],
            NOTES,
            caption="Steps of compression",
            marks={name: "not taken" for name, found in measured.items() if not found["taken"]},
        )
        refused = [
            Text(f"{name}: {found['said']}.") for name, found in told.items() if not found["taken"]
        ]
        return Chapter(title, [Text(_about(kept)), table, *refused, *map(Text, _slope(kept))])


def _row(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    before, after = found["before"], found["after"]

    def both(key: str, scale: float, form: str) -> str:
        return " → ".join(format(each[key] * scale, form) for each in (before, after))

    return (
        name,
        both("parameters", 1, ",.0f"),
        both("bytes", 1e-6, ".2f"),
        both("seconds", 1e3, ".3g"),
        both(QUALITY, 1, ".4f"),
    )


def _about(kept: list[dict[str, Any]]) -> str:
    """What became of the model as a whole."""
    if not kept:
        return "No step of compression was taken: all that follows is of the model as trained."
    before, after = kept[0]["before"], kept[-1]["after"]
    return (
        f"All that follows is of the compressed model: {before['bytes'] / after['bytes']:.2f} × "
        f"smaller than as trained, its {QUALITY.upper()} on validation {after[QUALITY]:.4f} where "
        f"it was {before[QUALITY]:.4f}."
    )


def _slope(kept: list[dict[str, Any]]) -> list[str]:
    """Whether explainers may go by the gradients of the model that was kept."""
    if not kept:
        return []
    found = Agreement(**kept[-1]["gradients"])
    slope = judged(found, kept[-1]["straight_through"])
    said = slope.said or (
        f"the compressed model's input gradients are true: their cosine with {TRUTHS[found.by]} is "
        f"{found.cosine:.3f} (of {found.group}, where it is lowest)"
    )
    return [f"{said[0].upper()}{said[1:]}."]


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the compression section."""
    return {"compression": Compression}
