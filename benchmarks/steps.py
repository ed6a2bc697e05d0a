"""How long a step of private training takes beside one without: the same model, the same batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Any

from budgets import MECHANISM, Form
from machine import row, timed
from torch.optim import Optimizer

from xrec.data.batches import Batch
from xrec.models.recommender import Recommender
from xrec.plugins import new_manager
from xrec.runs.run import Run
from xrec_plugins.privacy import gradients
from xrec_plugins.privacy.dp_sgd import DpSgd
from xrec_plugins.privacy.draws import Draws
from xrec_plugins.privacy.units import LEVELS, Units, sizes

PLAIN = "plain"


@dataclass(frozen=True)
class Side:
    """A model with its optimizer, and the level of its privacy, or `PLAIN`."""

    level: str
    model: Recommender
    optimizer: Optimizer

    def step(self, batch: Batch) -> None:
        """What training does with a batch, from its losses to changed weights."""
        if self.level == PLAIN:
            self.optimizer.zero_grad()
            reduce(add, self.model.terms(batch).values()).backward()
        else:
            self.optimizer.begin()
            for found, _ in gradients.each(self.model, batch, sizes(batch, self.level)):
                self.optimizer.take(found)
        self.optimizer.step()


def paces(run: Run, options: Mapping[str, Any], form: Form) -> list[dict[str, float]]:
    """A row a turn: seconds that each side takes for a step, by the wall and of the processor.

    The sides take turns, there and back. A batch is some users, drawn as private training draws
    them, and the windows of each that it would see; without privacy these are one batch, by user
    each user is clipped, and by example each window.
    """
    steps = form.warm_up + form.turns
    run = Run(run.recipe, run.folder)  # whose data are nobody else's
    data = run.data
    data.train = replace(data.train, epochs=steps)  # so that the budget lasts
    sides = [_side(run, level, options) for level in (PLAIN, *LEVELS)]
    units = Units(data, "user", DpSgd(**options).windows)
    rate = min(1.0, data.train.batch / len(units))
    found = []
    for at in range(steps):
        batch = units.drawn(rate, Draws.of(run.recipe.seed, at))
        order = sides[:: -1 if at % 2 else 1]
        times = {side.level: timed(partial(side.step, batch)) for side in order}
        if at >= form.warm_up:
            found.append({**row(at - form.warm_up, times), "windows": len(batch)})
    return found


def _side(run: Run, level: str, options: Mapping[str, Any]) -> Side:
    """A side whose model begins with the run's weights."""
    model = run.fresh_model()
    model.load_state_dict(run.trained.state_dict())
    mechanisms = [] if level == PLAIN else [DpSgd(**{**options, "level": level})]
    model.use(new_manager(mechanisms))
    return Side(level, model.train(), model.configure_optimizers())


def mechanism(run: Run) -> dict[str, Any]:
    """The options of the run's private training."""
    (found,) = (dict(each.options) for each in run.recipe.privacy if each.name == MECHANISM)
    return found
