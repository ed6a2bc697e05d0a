"""Holding a model still while it is explained, and counting what is asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from xrec.explain.cost import Cost
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@contextmanager
def probe(model: Recommender) -> Iterator[Cost]:
    """Put `model` in evaluation mode with its parameters frozen; count its evaluations.

    Whatever happens inside, every module is left in the mode it was in, every parameter requires a
    gradient as it did before, and none was given one. Probes may be nested: each counts.
    """
    modes = [(module, module.training) for module in model.modules()]
    learning = [p for p in model.parameters() if p.requires_grad]
    cost, begin = Cost(), time.perf_counter()
    on_gpu = model.device.type == "cuda"
    held = torch.cuda.memory_allocated(model.device) if on_gpu else 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(model.device)
    model.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        with _counted(model, cost):
            yield cost
    finally:
        for module, training in modes:
            module.training = training
        for parameter in learning:
            parameter.requires_grad_(True)
        if on_gpu:
            torch.cuda.synchronize(model.device)
            cost.peak_bytes = torch.cuda.max_memory_allocated(model.device) - held
        cost.seconds = time.perf_counter() - begin


@contextmanager
def _counted(model: Recommender, cost: Cost) -> Iterator[None]:
    """Count rows in `score`, in its gradient and in what may do without it, whoever calls them.

    A model whose choices are scores of one item after another counts each; one that reads a row
    once for all of them counts it once.
    """
    own: dict[str, Any] = vars(model)
    score, attend = model.score, model.attend
    names = ("score", "attend", "choices", "compared")
    shadowed: dict[str, Any] = {name: own[name] for name in names if name in own}

    def counted_score(inputs: Inputs, *task: int) -> Tensor:
        cost.forward += len(inputs)
        logits = score(inputs, *task)
        if logits.requires_grad:
            logits.register_hook(lambda gradient: _count_rows(gradient, cost))
        return logits

    def counted_attend(inputs: Inputs) -> list[Tensor]:
        cost.forward += len(inputs)
        return attend(inputs)

    def counted(read: Callable[[Inputs, Tensor], Tensor]) -> Callable[[Inputs, Tensor], Tensor]:
        def counting(inputs: Inputs, items: Tensor) -> Tensor:
            before = cost.forward
            said = read(inputs, items)
            if cost.forward == before:
                cost.forward += len(inputs)
            return said

        return counting

    several = (counted(model.choices), counted(model.compared))
    own.update(zip(names, (counted_score, counted_attend, *several), strict=True))
    try:
        yield
    finally:
        for name in names:
            del own[name]
        own.update(shadowed)


def _count_rows(gradient: Tensor, cost: Cost) -> None:
    cost.backward += len(gradient)
