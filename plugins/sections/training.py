"""What was trained on what, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xrec import hookimpl
from xrec.report.drawing import course
from xrec.report.section import Block, Chapter, Picture, Table, Text
from xrec.report.words import listed, percent, plain
from xrec.runs.run import Run
from xrec.runs.training import FALLING

COUNTS = ("found", "dropped", "mended")
#: How each split holds events out, in words.
HELD_OUT = {
    "leave_last_out": "Of each user the last event is the test and the one before it validates.",
    "leave_random_out": (
        "Of each user one event, drawn at random, is the test, and another one validates."
    ),
}


@dataclass(frozen=True)
class Training:
    """The data with what cleaning found, the model, and the course of training."""

    def render(self, run: Run) -> Chapter:
        """Read `data.json`, `training.json` and, if there, `pretrain.json`."""
        data, training = run.store.json("data.json"), run.store.json("training.json")
        return Chapter(
            "What was trained",
            [
                *map(
                    Text, [_told(run, data["rows"], training), *training["notes"], *_adapted(run)]
                ),
                *_courses(training, run.recipe.train.monitor),
                *_cleaning(data["found"]),
                _leakage(data["leakage"]),
            ],
        )


def _told(run: Run, rows: dict[str, int], training: dict[str, Any]) -> str:
    recipe = run.recipe
    weighs = [f"{plain(name)} {percent(share)}" for name, share in training["views"].items()]
    views = f" Of an item's views, weighed in it on average: {listed(weighs)}." if weighs else ""
    learned = f"({training['learning']:,} learned parameters), whose item texts are read by the "
    learned += f"encoder {_called(recipe.encoder)}, was trained on"
    if not training["learning"]:
        learned = f"({training['parameters']:,} parameters, none of them learned) was set up for"
    return (
        f"A {plain(recipe.model.name)} model {learned} the "
        f"{plain(recipe.dataset.name)} data: {rows['interactions']:,} events of "
        f"{rows['active users']:,} users and {rows['items']:,} items. "
        f"{HELD_OUT[recipe.data.split]}{views}"
    )


def _adapted(run: Run) -> list[str]:
    """How the encoder was trained further, where it was: from `pretrain.json`."""
    if run.recipe.pretrain is None:
        return []
    told = run.store.json("pretrain.json")
    texts, options, found = told["texts"], told["options"], told["perplexity"]
    way = "fell" if found["after"] < found["before"] else "did not fall: it went"
    head = ""
    if isinstance(told["head"], dict):
        head = (
            " The model's files have no head for guessing tokens, so one was fitted first, "
            f"{told['head']['fitted_first']['epochs']} times through the same texts with all else "
            "held still, and the perplexity before is measured with it."
        )
    return [
        f"Before it read the items, the encoder was trained further on their own words: "
        f"{options['epochs']} times through {texts['trained_on']:,} texts, guessing tokens that "
        f"were hidden (masked-language modelling). On {texts['held_out']:,} other texts its "
        "perplexity – among how many tokens it is as good as undecided, where one is hidden – "
        f"{way} from {found['before']:,.1f} to {found['after']:,.1f}, over {told['guessed']:,} "
        f"hidden tokens.{head}"
    ]


def _called(choice: Any) -> str:
    source = choice.options.get("source")
    return f"{choice.name} ({source})" if source else str(choice.name)


def _courses(training: dict[str, Any], monitor: str) -> list[Block]:
    """A chart of the loss and one of what was monitored, with the epoch that was kept."""
    charts: list[Block] = [
        _course(training["epochs"], "train_loss", "Training loss"),
        _course(training["epochs"], monitor, plain(monitor.replace("val_", "Validation ")), True),
    ]
    shown = [chart for chart in charts if chart]
    if not training["learning"]:
        return [Text("Nothing of the model learns, so that there was nothing to train.")]
    return shown or [Text("A plugin trained the model; it left no figures of its epochs.")]


def _course(epochs: list[dict[str, Any]], name: str, title: str, kept: bool = False) -> Any:
    told = [(each["epoch"], each[name]) for each in epochs if each.get(name) is not None]
    if not told:
        return None
    steps, values = zip(*told, strict=True)
    best = values.index((min if name.endswith(FALLING) else max)(values))
    words = f"{title} over {len(steps)} epochs, from {values[0]:.3f} to {values[-1]:.3f}"
    if kept:
        words += f"; the weights of epoch {steps[best]} were kept, at {values[best]:.3f}"
    return Picture(course(steps, values, best if kept else None), f"{words}.", title)


def _cleaning(found: list[dict[str, Any]]) -> list[Block]:
    """What was found as a table, and what was looked for in vain as a sentence."""
    rows = [
        (f["what"], *(f"{f[count]:,}" for count in COUNTS), "; ".join(f["examples"]))
        for f in found
        if f["found"]
    ]
    head = ("what", *COUNTS, "such as")
    absent = "; ".join(f["what"] for f in found if not f["found"])
    return [
        *([Table(head, rows, caption="What cleaning found")] if rows else []),
        *([Text(f"Cleaning looked for these and found none: {absent}.")] if absent else []),
    ]


def _leakage(checks: list[dict[str, Any]]) -> Text:
    """What was looked for to be sure that nothing to be predicted is known beforehand."""
    told = "; ".join(
        f"{check['found']:,} of {check['cases']:,} {check['what']}" for check in checks
    )
    return Text(f"No leakage was found: {told}.")


@hookimpl
def xrec_sections() -> dict[str, type]:
    """Offer the training section."""
    return {"training": Training}
