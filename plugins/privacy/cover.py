"""What private training protects and what it does not, in words: each a term and what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xrec.explain.explainer import learns
from xrec.recipe import Recipe

if TYPE_CHECKING:
    from xrec.runs.run import Run

Terms = list[tuple[str, str]]

#: What is made of the same data without noise, or is not theirs to protect.
OPEN = (
    (
        "validation events",
        "every epoch's figures, when training stops and which epoch's weights are kept follow from "
        "them without noise",
    ),
    ("test events", "every figure of a report that is measured on them"),
    ("the training loss", "of each epoch, as it is logged"),
    (
        "cleaning and vocabularies",
        "how many users there are, and which items, actions and values of attributes",
    ),
    ("the encoder's own data", "what it was trained on before"),
    ("items", "their texts and attributes, and so the catalogue that negatives are drawn from"),
    ("baselines", "popularity, item knn and ease, in a report, count events as they are"),
    (
        "recommendations and explanations",
        "they are made of the history of the user whom they are for",
    ),
    ("other runs on the same data", "each that options are chosen by spends a budget of its own"),
)


def covered(level: str) -> Terms:
    """What the weights tell little of."""
    if level == "user":
        return [("a user", "all that they did in training, and their profile")]
    return [("a window of training", "events of one user that follow each other, and the profile")]


def not_covered(recipe: Recipe, level: str) -> Terms:
    """What is open of any training by dp_sgd, and what this recipe's leaves open."""
    return [*_by_level(level), *OPEN, *_by_recipe(recipe)]


def _by_level(level: str) -> Terms:
    if level == "user":
        return []
    return [
        (
            "a user as a whole",
            "each window counts alone, and shares half of its events with the next: a user with k "
            "windows has k times the epsilon at best",
        )
    ]


def _by_recipe(recipe: Recipe) -> Terms:
    rated = [task.name for task in recipe.tasks if task.loss == "mse"]
    scale = "the head begins with the mean and the spread that are known"
    found = [(f"the scale of {name}", scale) for name in rated]
    if recipe.adapt is not None:
        found.append((f"the run {recipe.adapt.run}", "its trunk was trained before"))
    if recipe.hooks:
        names = ", ".join(choice.name for choice in recipe.hooks)
        found.append(("plugins under hooks", f"what they do with the data: {names}"))
    return found


def open_after(run: Run) -> Terms:
    """What of a run is open by what it does with the model after training."""
    found = []
    if run.recipe.compress:
        found.append(("compression", "which steps are taken is decided by validation"))
    learned = [label for label, (_, each) in run.explainers().items() if learns(each)]
    if learned:
        found.append(
            (
                "explainers that learn",
                "they learn from the users who were trained on, without noise, so that what they "
                "keep in the run, and any explanation by it, may tell of others than whom it is "
                f"for: {', '.join(learned)}",
            )
        )
    return found
