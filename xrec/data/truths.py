"""What is true of events, by the tasks that predict it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xrec.data.features import Vocabulary
from xrec.data.split import Events
from xrec.data.tasks import Task
from xrec.errors import DataError, nearest


def truths(tasks: Sequence[Task], events: Events, actions: Vocabulary) -> Tensor:
    """(E, T) float: the truth of each of T tasks, NaN where it is not known.

    Raises DataError where no event has a value, or the action, that a task is about.
    """
    find = {"next": _next, "value": _value, "action": _action}
    return torch.stack([find[task.target](task, events, actions) for task in tasks], dim=1)


def _next(task: Task, events: Events, actions: Vocabulary) -> Tensor:
    return torch.ones_like(events.value)


def _value(task: Task, events: Events, actions: Vocabulary) -> Tensor:
    value = events.value
    if value.isnan().all():
        raise DataError(f"task {task.name}: no event has a value; choose another target")
    if task.above is None:
        return value
    return torch.where(value.isnan(), torch.nan, (value > task.above).float())


def _action(task: Task, events: Events, actions: Vocabulary) -> Tensor:
    if task.equals not in actions.ids[1:]:
        near = nearest(task.equals, actions.ids[1:])
        raise DataError(f"task {task.name}: no event has the action '{task.equals}'; {near}")
    same = (events.action == actions.index(task.equals)).float()
    return torch.where(events.action > 0, same, torch.nan)
