"""Judging an explainer on recommendations: a row of measures for each user."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from xrec.explain.explainer import Explainer
from xrec.fidelity.metric import Case, Metric
from xrec.fidelity.retelling import Ask, Retelling
from xrec.fidelity.scoring import scored
from xrec.runs.subject import Subject


def judged(
    subject: Subject,
    explainer: Explainer,
    ask: Ask,
    metrics: Sequence[Metric],
    operators: Sequence[str],
    points: int,
) -> pl.DataFrame:
    """What metrics say of an explainer: a row a user, a column a measure, null where it is NaN.

    Beside them the events of the user's history and how often the item was had in training.
    """
    inputs = subject.inputs
    told = ask(explainer, subject.model, inputs, subject.target)
    case = Case(
        subject.model,
        inputs,
        subject.target,
        told,
        operators[0],
        points,
        subject.truth,
        subject.averaging,
        Retelling(explainer, ask),
    )
    values = scored(metrics, case, operators).values
    measures = {name: pl.Series(each.cpu().double().numpy()) for name, each in values.items()}
    return subject.table.select("user", "item").with_columns(
        events=pl.Series(subject.events.cpu().numpy()),
        popularity=pl.Series(subject.popularity.cpu().numpy()),
        **{name: each.fill_nan(None) for name, each in measures.items()},
    )
