"""What modules of a model read while it goes over some of what it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

import torch
from torch import Tensor, nn

from xrec.data.module import Data
from xrec.models.recommender import Recommender

BATCHES = 8  # of training


@torch.no_grad()
def observe(
    model: Recommender,
    data: Data,
    modules: Mapping[str, nn.Module],
    see: Callable[[str, Tensor], None],
) -> None:
    """Call `see` with a module's name and the numbers (…, K) that it reads, each time that it does.

    The model, in evaluation mode, computes its loss of a few batches. What it draws for that
    follows from the run's seed, and torch's generator is left where it was.
    """
    hooks = [
        module.register_forward_pre_hook(lambda _, given, name=name: see(name, given[0]))
        for name, module in modules.items()
    ]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            for batch in islice(data.train_dataloader(), BATCHES):
                model.loss(batch)
    finally:
        for hook in hooks:
            hook.remove()
