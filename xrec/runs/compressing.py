"""The stages that compress a trained model: each step of the recipe's chain, one after another."""

from __future__ import annotations

import copy

from xrec.compress.chain import QUALITY, Taken, take
from xrec.compress.state import flat
from xrec.models.recommender import Recommender
from xrec.recipe import Compression
from xrec.runs.run import Run


def compress(run: Run, at: int) -> None:
    """Take the step at a place of the chain, from 0; keep what it gave, unless it took too much.

    After one that took too much of the quality no other is taken: the model stays the last good.
    """
    name, choice = run.steps[at], run.recipe.compress[at]
    ended = next(
        (each for each in run.steps[:at] if not run.store.json(f"{each}.json")["taken"]), ""
    )
    if ended:
        said = f"not taken, as the chain ended at {ended.rpartition('/')[2]}"
        run.tell(f"  {said}")
        run.store.write_json(f"{name}.json", {"taken": False, "said": said})
        return
    found = take(run.made["compress"][at], _before(run, at), run.data, run.tell)
    good = found.drop <= choice.max_quality_drop
    said = _said(choice, found, good)
    run.tell(f"  {said}")
    if good:
        run.store.write_tensors(f"{name}.safetensors", flat(found.model))
    run.store.write_json(f"{name}.json", {"taken": good, "said": said, **found.told()})


def _before(run: Run, at: int) -> Recommender:
    """The model that a step begins with, all weights its own."""
    model = copy.deepcopy(run.compressed(at))
    model.settle()
    return model.eval()


def _said(choice: Compression, found: Taken, good: bool) -> str:
    """A sentence on what a step did."""
    before, after = found.before, found.after
    ranks = f"{QUALITY} {before[QUALITY]:.4f} to {after[QUALITY]:.4f}"
    if not good:
        return (
            f"{choice.name} takes {found.drop:.1%} of the quality ({ranks}), more than "
            f"max_quality_drop {choice.max_quality_drop:.1%}: the chain ends, and the model before "
            "it is kept"
        )
    smaller, faster = before["bytes"] / after["bytes"], before["seconds"] / after["seconds"]
    return f"{choice.name}: {smaller:.2f} x smaller, {faster:.2f} x faster, {ranks}"
