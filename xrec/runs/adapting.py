"""A new head on the trunk of a run that was trained before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xrec.errors import RunError
from xrec.models.recommender import Recommender
from xrec.recipe import Recipe
from xrec.runs.run import WEIGHTS, Run

SAME = ("model", "encoder", "pretrain")  # what both recipes must say alike


def trunk(recipe: Recipe) -> Sequence[Path]:
    """The weights that a recipe's adaptation starts from; none if it adapts nothing.

    Raises RunError: its run is not there, is not finished, or learned other tasks or another model.
    """
    if recipe.adapt is None:
        return ()
    run = Run.open(Path(recipe.adapt.run))
    other = run.recipe
    for key in SAME:
        if other.resolved.get(key) != recipe.resolved.get(key):
            raise RunError(f"adapt.run: run {run.folder} has another {key}: say the same here")
    if other.tasks != recipe.tasks[:-1]:
        names = ", ".join(task.name for task in other.tasks)
        raise RunError(
            f"adapt.run: run {run.folder} learned {names}: list that under tasks, in the same "
            f"words, and '{recipe.adapt.task}' after it"
        )
    return (run.store.path(WEIGHTS),)


def adapt(run: Run, model: Recommender) -> None:
    """Give `model` the trunk and heads of the run that its recipe names; only the new head learns.

    Raises RunError: that run knows other items, attributes or profiles.
    """
    assert run.recipe.adapt is not None
    other = Run.open(Path(run.recipe.adapt.run))
    theirs, ours = other.data, run.data
    if (theirs.items.ids, theirs.attributes.names, theirs.profile.names) != (
        ours.items.ids,
        ours.attributes.names,
        ours.profile.names,
    ):
        raise RunError(
            f"adapt.run: run {other.folder} was trained on other items or users' attributes: give "
            "this recipe the same data"
        )
    learned = {
        name: tensor
        for name, tensor in other.store.tensors(WEIGHTS).items()
        if not name.startswith("weighting.")  # of a training that is over
    }
    model.load_state_dict(learned, strict=False)
    for name, parameter in model.named_parameters():
        fresh = name not in learned and not name.startswith("weighting.")
        parameter.requires_grad_(parameter.requires_grad and fresh)
    model.learned = range(len(model.tasks) - 1, len(model.tasks))
