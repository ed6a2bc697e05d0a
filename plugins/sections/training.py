"""What was trained on what, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.report.drawing import drawn, figure
from xrec.report.section import Chapter, Picture, Table, Text
from xrec.runs.run import Run


@dataclass(frozen=True)
class Training:
    """The data with what cleaning found, the model, and the course of training."""

    def render(self, run: Run) -> Chapter:
        """Read `data.json` and `training.json`."""
        data, training = run.store.json("data.json"), run.store.json("training.json")
        recipe, rows = run.recipe, data["rows"]
        told = Text(
            f"A {recipe.model.name} model ({training['learning']:,} learned parameters), whose "
            f"item texts are read by the encoder {_called(recipe.encoder)}, was trained on the "
            f"{recipe.dataset.name} data: {rows['interactions']:,} events of "
            f"{rows['active users']:,} users and {rows['items']:,} items. Of each user the last "
            "event is the test and the one before it validates."
        )
        found = [
            (f["step"], f"{f['found']:,}", f["done"] if f["found"] else "–", f["example"])
            for f in data["found"]
        ]
        cleaning = Table(("cleaning found", "how many", "what was done", "one of them"), found)
        return Chapter(
            "What was trained", [told, cleaning, _course(training, recipe.train.monitor)]
        )


def _called(choice: Any) -> str:
    source = choice.options.get("source")
    return f"{choice.name} ({source})" if source else str(choice.name)


def _course(training: dict[str, Any], monitor: str) -> Picture | Text:
    epochs = [each for each in training["epochs"] if each.get(monitor) is not None]
    if not epochs:
        return Text("A plugin trained the model; it left no figures of its epochs.")
    steps = [each["epoch"] for each in epochs]
    with figure(7.6, 2.6, columns=2) as (left, right):
        left.plot(steps, [each["train_loss"] for each in epochs], color="#2a78b8")
        left.set(title="training loss", xlabel="epoch")
        right.plot(steps, [each[monitor] for each in epochs], color="#2a78b8")
        right.set(title=monitor.replace("val_", "validation "), xlabel="epoch")
        best = max(epochs, key=lambda each: each[monitor])
        right.plot(best["epoch"], best[monitor], "o", color="#c8553d")
        svg = drawn()
    return Picture(
        svg, f"Training loss and {monitor} over {len(epochs)} epochs; the best was kept."
    )


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the training section."""
    return {"training": Training}
