"""Tracing a run's recommendations back to the interactions that its model was trained on."""

from __future__ import annotations

from xrec.models.recommender import Recommender
from xrec.runs import influences
from xrec.runs.run import WEIGHTS, Run
from xrec.runs.stages import beginning


def trace(run: Run, label: str) -> None:
    """Trace the recommendations that the report shows, with one method.

    Raises XrecError where the method cannot be used with the run's model.
    """
    table, batch = run.subject.table, run.subject.batch
    count, method = run.recipe.report.explained, run.influences()[label][1]
    kept = influences.kept(run)
    told = method.trace(_learned(run), kept, run.data, batch.rows(slice(0, count)))
    for note in told.notes:
        run.tell(f"  {note}")
    epochs = [each.epoch for each in kept]
    influences.write(run, label, told, table.head(count), method.top, epochs)


def _learned(run: Run) -> Recommender:
    """The trained model, in which only what learned on the run's own data requires a gradient."""
    if run.recipe.adapt is None:
        return run.trained
    model = beginning(run)
    model.load_state_dict(run.store.tensors(WEIGHTS))
    return model.eval()
