"""The stages that explain: an explainer is readied, explains, and is put to the test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from xrec import plugins
from xrec.explain.bounded import explain_within
from xrec.explain.explainer import Choosing, Explainer, Measured, Trained, learns
from xrec.explain.explanation import Explanation
from xrec.explain.target import Target
from xrec.fidelity.metric import Case
from xrec.fidelity.protocol import latency
from xrec.fidelity.retelling import Ask, Retelling
from xrec.fidelity.scoring import scored
from xrec.fidelity.statistics import bootstrap
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.runs import explanations
from xrec.runs.run import Run

STRAIGHT_THROUGH = "straight-through"  # what explanations by such gradients are labelled


def fit(run: Run, label: str) -> None:
    """Let an explainer learn; keep what it learned, and its figures."""
    explainer: Trained = run.explainers()[label][1]
    figures = explainer.fit(run.model, run.data)
    run.store.write_tensors(f"explainers/{label}.safetensors", explainer.state())
    run.store.write_json(f"explainers/{label}.json", figures)


def ready(run: Run, label: str) -> Explainer:
    """An explainer of the recipe, fit to explain: with what it learned, or having chosen."""
    explainer: Any = run.explainers()[label][1]
    if learns(explainer):
        state = run.store.tensors(f"explainers/{label}.safetensors")
        explainer.restore(state, run.model, run.data)
    if isinstance(explainer, Choosing):
        choose(run, explainer)
    made: Explainer = explainer
    return made


def choose(run: Run, explainer: Choosing) -> str:
    """Let an explainer choose among those of the run that were measured; why it chose so."""
    others = {
        label: made
        for label, (_, made) in run.explainers().items()
        if not isinstance(made, Choosing)
    }
    measured = {}
    for label in others:
        found = run.store.json(f"fidelity/{label}.json")
        seconds = found["latency"]["p50"]
        other = ready(run, label)
        measured[label] = Measured(other, found["measures"], found["better"], seconds)
    return explainer.choose(measured)


def explain(run: Run, label: str) -> None:
    """Explain each user's first recommendation with one explainer."""
    subject = run.subject
    explainer: Any = run.explainers()[label][1]
    if isinstance(explainer, Choosing):
        said = choose(run, explainer)
        run.tell(f"  {said}")
        run.store.write_json(f"explainers/{label}.json", {"said": said})
    else:
        explainer = ready(run, label)
    told = explained(run, explainer, subject.inputs)
    explanations.write(run.store, label, told, subject.table)


def explained(
    run: Run, explainer: Explainer, inputs: Inputs, model: Recommender | None = None
) -> Explanation:
    """What an explainer says of the run's target, as it leaves the run.

    model: what the inputs are of, where they are not the run's model's own.
    """
    return asking(run)(explainer, model or run.model, inputs, run.target)


def asking(run: Run) -> Ask:
    """How explainers are asked in a run: within its bound of memory, and as its plugins release."""
    protocol = run.recipe.protocol

    def ask(
        explainer: Explainer, model: Recommender, inputs: Inputs, target: Target
    ) -> Explanation:
        told = explain_within(protocol.max_bytes, explainer, model, inputs, target)
        through = model.slope.straight_through and told.cost.backward
        gradients = STRAIGHT_THROUGH if through else ""
        told = replace(told, target=protocol.target, gradients=gradients)
        changed: Explanation = plugins.chain(
            run.manager.hook.xrec_explanation, told, recipe=run.recipe
        )
        return changed

    return ask


def score(run: Run, label: str) -> None:
    """Score one explainer by every metric, and time it."""
    recipe, protocol, subject = run.recipe, run.recipe.protocol, run.subject
    explainer = ready(run, label)
    case = Case(
        run.model,
        subject.inputs,
        run.target,
        explanations.read(run.store, label, subject.inputs),
        protocol.absent,
        protocol.points,
        subject.truth,
        subject.ledger,
        Retelling(explainer, asking(run)),
        recipe.seed,
    )
    scores = scored(run.made["fidelity"], case)
    columns = {name: pl.Series(v.cpu().double().numpy()) for name, v in scores.values.items()}
    rows = pl.DataFrame({"user": subject.table["user"], **columns})
    summary = {name: bootstrap(rows[name].to_numpy(), recipe.seed) for name in columns}
    run.store.write_table(f"fidelity/{label}.parquet", rows)
    timed = latency(
        explainer, run.model, subject.inputs, run.target, protocol.repeats, protocol.batch
    )
    found = {"measures": summary, "better": scores.better, "latency": timed}
    run.store.write_json(f"fidelity/{label}.json", {**found, "plant_taken_up": subject.taken_up})
