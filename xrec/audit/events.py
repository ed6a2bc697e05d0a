"""What leaks: whether a model, or an explanation of it, tells what it was trained on.

This is the first and simplest attack, by a threshold that is the same for all (Yeom et al., 2018,
"Privacy risk in machine learning"). One that fails says little: attacks that train models of their
own for comparison (Carlini et al., 2022, "LiRA") find more. A full audit is the privacy work's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.module import QUERY_BATCH, Data
from xrec.explain.explainer import Explainer
from xrec.models.quality import auc
from xrec.models.recommender import Recommender
from xrec.runs.explaining import asking
from xrec.runs.run import Run


def pairs(data: Data, users: Tensor) -> tuple[Batch, Batch]:
    """Of users (B,) an event that was trained on, their last, and one that was not, the test's.

    Both are asked about as all queries are, by the events before. Users are left out for whom the
    first has none before it, or for whom either item is one that they had before: it is likely
    whether or not it was trained on.
    """
    members, others = data.queries("train", users), data.queries("test", users)
    some = (members.history > 0).any(1)
    for batch in (members, others):
        some &= (batch.history != batch.candidate[:, None]).all(1)
    return members.rows(some), others.rows(some)


def told_apart(sees: Callable[[str, Batch], Tensor], data: Data, users: Tensor) -> float:
    """How often more is seen of a member than of another: the AUC of an attack, 0.5 being chance.

    sees: (B,) what the attacker sees of a batch of pairs, from "train" or "test". It is one-sided,
    as the attacker knows that what was trained on is scored higher: below 0.5 the attack fails. NaN
    where there are no pairs.
    """
    members, others = pairs(data, users)
    if not len(members):
        return float("nan")
    said = torch.cat([sees("train", members), sees("test", others)])
    label = torch.cat([torch.ones(len(members)), torch.zeros(len(others))])
    return auc(said.cpu(), label.long())


@torch.no_grad()
def leakage(model: Recommender, data: Data, users: Tensor) -> float:
    """The AUC of an attacker who sees the logit of each pair of a user and an item."""

    def logit(stage: str, batch: Batch) -> Tensor:
        parts = torch.arange(len(batch)).split(QUERY_BATCH)
        return torch.cat([model(batch.rows(some)) for some in parts])

    return told_apart(logit, data, users)


def leakage_explanation(run: Run, explainer: Explainer, users: Tensor) -> float:
    """The AUC of an attacker who sees of each pair its explanation alone, as it leaves the run.

    What they go by is the sum of the contributions, which anyone can add up; of an explanation
    that is complete it is what is explained, less a base.
    """
    ask = asking(run)

    def total(stage: str, batch: Batch) -> Tensor:
        inputs = run.inputs(batch).against(run.rivals(batch, stage))
        return ask(explainer, run.model, inputs, run.target).values.sum(1)

    return told_apart(total, run.data, users)
