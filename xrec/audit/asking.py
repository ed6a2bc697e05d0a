"""What an attacker sees: how sure a model is of what users did, and how it explains it.

A model is not told whose history it is asked about (its user is 0, unknown), nor is it asked
differently about those whom it knows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xrec.audit.shadows import Shadow
from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, GROUPS
from xrec.data.module import QUERY_BATCH, Data
from xrec.explain.explanation import Explanation
from xrec.influence.interactions import Interactions
from xrec.models.recommender import Recommender
from xrec.runs.explaining import asking, ready

EVENTS = 32  # of a user, the latest, that a model is asked about
RECENT = 5  # events whose contributions are seen one by one


@dataclass(frozen=True)
class Questions:
    """What models are asked about U users: the same for all models.

    users (U,): by the run's data. events: M of their training events, each as a query by what came
    before, with items that they have not had, `negatives`. owner (M,): whose it is, from 0. last:
    the query of each user's last training event; seen (U, N + 1) bool: what is not ranked then.
    """

    users: Tensor
    events: Batch
    owner: Tensor
    last: Batch
    seen: Tensor

    @classmethod
    def of(cls, data: Data, users: Tensor, seed: int) -> Questions:
        """The questions about users (U,), in ascending order; a seed draws the other items."""
        whole = Interactions.of(data, users, 0, seed)
        later = whole.user[:, None] == whole.user[None, :]
        rows = torch.arange(len(whole))
        late = (later & (rows[None, :] > rows[:, None])).sum(1) < EVENTS
        windows = whole.windows.rows(late)
        events = replace(windows.earlier(), candidate=windows.history[:, -1])
        owner = torch.searchsorted(users, events.user)
        seen = data.seen(users, "train")
        return cls(users, _nobody(events), owner, _nobody(data.queries("train", users)), seen)


def _nobody(batch: Batch) -> Batch:
    """The batch without who it is about."""
    return replace(batch, user=torch.zeros_like(batch.user))


@torch.no_grad()
def sureness(model: Recommender, questions: Questions) -> Tensor:
    """(U,) float64: how sure a model is of a user's training events, on average, in logits.

    Of an event it is the log-odds of its item among itself and the items drawn, which are near
    normally distributed where a loss is not (Carlini et al., 2022, section V.C).
    """
    parts = []
    for rows in torch.arange(len(questions.events)).split(QUERY_BATCH):
        batch = questions.events.rows(rows)
        assert batch.negatives is not None
        said = model.compared(model.embed(batch), batch.negatives).double()
        parts.append(said[:, 0] - said[:, 1:].logsumexp(1))
    each = torch.cat(parts).cpu()
    count = torch.bincount(questions.owner, minlength=len(questions.users))
    return torch.zeros(len(count)).double().index_add(0, questions.owner, each) / count


def explained(shadow: Shadow, label: str, questions: Questions) -> Explanation:
    """How a shadow's explainer explains each user's last training event, as it leaves a run."""
    batch, explainer = questions.last, ready(shadow, label)
    rivals = shadow.rivals(batch, "train", questions.seen)
    inputs = shadow.inputs(batch).against(rivals)
    return asking(shadow)(explainer, shadow.model, inputs, shadow.target)


def features(told: Explanation) -> Tensor:
    """(B, M) float64 of what an explanation says, by its values alone, the total first.

    Then come their size, the largest and the smallest, the share of the largest and the entropy of
    shares, the explainer's own error, the total of each group, and what the last events
    contributed. Score and base are left out: they are the model's.
    """
    whole = told.summed()
    values, group = whole.values.double(), whole.features.group
    size = values.abs().sum(1)
    share = values.abs() / size.clamp(min=torch.finfo(torch.double).tiny)[:, None]
    event = (group == BEHAVIOUR) & whole.present
    place = event.long().flip(1).cumsum(1).flip(1)  # the last event is the first
    columns = [
        values.sum(1),
        size,
        values.amax(1),
        values.amin(1),
        share.amax(1),
        torch.special.entr(share).sum(1),
        told.error.double().nan_to_num(),
        *(torch.where(group == at, values, 0).sum(1) for at in range(1, len(GROUPS))),
        *(torch.where(event & (place == 1 + at), values, 0).sum(1) for at in range(RECENT)),
    ]
    return torch.stack(columns, dim=1).cpu()
