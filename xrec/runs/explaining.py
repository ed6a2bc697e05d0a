"""The stages that explain: an explainer is readied, explains, and is put to the test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from xrec import plugins
from xrec.explain.bounded import explain_within
from xrec.explain.explainer import Choosing, Explainer, Measured, Trained, learns
from xrec.explain.explanation import Explanation
from xrec.fidelity.metric import Case
from xrec.fidelity.protocol import latency
from xrec.fidelity.statistics import bootstrap
from xrec.fidelity.truth import Planted, laid_out, taken_up
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.runs import explanations
from xrec.runs.run import Run


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
    table, _, inputs = run.explained()
    explainer: Any = run.explainers()[label][1]
    if isinstance(explainer, Choosing):
        said = choose(run, explainer)
        run.tell(f"  {said}")
        run.store.write_json(f"explainers/{label}.json", {"said": said})
    else:
        explainer = ready(run, label)
    explanations.write(run.store, label, explained(run, explainer, inputs), table)


def explained(
    run: Run, explainer: Explainer, inputs: Inputs, model: Recommender | None = None
) -> Explanation:
    """What an explainer says of the run's target, as it leaves the run.

    model: what the inputs are of, where they are not the run's model's own.
    """
    protocol = run.recipe.protocol
    told = explain_within(protocol.max_bytes, explainer, model or run.model, inputs, run.target)
    told = replace(told, target=protocol.target)
    changed: Explanation = plugins.chain(run.manager.hook.xrec_explanation, told, recipe=run.recipe)
    return changed


def score(run: Run, label: str) -> None:
    """Score one explainer by every metric, and time it."""
    recipe, protocol = run.recipe, run.recipe.protocol
    table, batch, inputs = run.explained()
    told = explanations.read(run.store, label, inputs)
    dataset = run.made["dataset"][0]
    truth = None
    if isinstance(dataset, Planted) and protocol.target in ("logit", recipe.tasks[0].name):
        truth = laid_out(dataset.truth(run.data, batch), inputs)
    case = Case(run.model, inputs, run.target, told, protocol.absent, protocol.points, truth)
    columns, better = {"user": table["user"]}, {}
    for metric in run.made["fidelity"]:
        for name, values in metric.measure(case).items():
            better[name] = metric.measures[name]
            columns[name] = pl.Series(values.cpu().double().numpy())
    rows = pl.DataFrame(columns)
    summary = {name: bootstrap(rows[name].to_numpy(), recipe.seed) for name in better}
    run.store.write_table(f"fidelity/{label}.parquet", rows)
    explainer = ready(run, label)
    timed = latency(explainer, run.model, inputs, run.target, protocol.repeats, protocol.batch)
    used = None if truth is None else taken_up(case.game(), truth)
    found = {"measures": summary, "better": better, "latency": timed, "plant_taken_up": used}
    run.store.write_json(f"fidelity/{label}.json", found)
