"""What an explainer is worth on one model: how faithful it is, how quick, and what it leaks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from xrec.audit.events import leakage_explanation
from xrec.bench.judging import judged
from xrec.bench.trained import Variant, drawn
from xrec.explain.explainer import Explainer, learns
from xrec.explain.explanation import Explanation
from xrec.explain.memory import peak_bytes
from xrec.fidelity.metric import Metric, retells
from xrec.fidelity.protocol import latency
from xrec.runs.explaining import asking
from xrec.runs.run import Run

ATTACKED = 100  # users, of each of whom two explanations are told apart: an AUC to about 0.04


@dataclass(frozen=True)
class Weighed:
    """An explanation, its measures by user, and figures of the explainer.

    figures: seconds to explain a row (`p50`), the bytes that one takes, what an attacker makes of
    explanations, and the seconds that it took to learn, None where it need not.
    """

    told: Explanation
    rows: pl.DataFrame
    figures: dict[str, float | None]


def weighed(variant: Variant, label: str) -> Weighed:
    """Let an explainer learn if it must, explain, be judged and timed, and be attacked.

    Metrics that would ask it again are left out. Raises XrecError where it cannot explain.
    """
    run, subject = variant.run, variant.subject
    explainer: Any = run.explainers()[label][1]
    seconds = _taught(run, explainer)
    protocol, given = run.recipe.protocol, (run.model, subject.inputs, run.target)
    told = asking(run)(explainer, *given)
    metrics: list[Metric] = [each for each in run.made["fidelity"] if not retells(each)]
    operators = run.recipe.bench.operators
    rows = judged(subject, explainer, lambda *_: told, metrics, operators, protocol.points)
    one = partial(explainer.explain, run.model, subject.inputs.rows(slice(0, 1)), run.target)
    figures = {
        "p50": latency(explainer, *given, protocol.repeats, protocol.batch)["p50"],
        "peak_bytes": peak_bytes(one),
        "leakage_explanation": leakage_explanation(run, explainer, drawn(run, ATTACKED)),
        "fit_seconds": seconds,
    }
    return Weighed(told, rows, figures)


def _taught(run: Run, explainer: Explainer) -> float | None:
    """Let an explainer learn from a run's model; the seconds that it took."""
    if not learns(explainer):
        return None
    begin = time.perf_counter()
    explainer.fit(run.model, run.data)
    return time.perf_counter() - begin
