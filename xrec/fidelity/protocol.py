"""How an explainer is timed: warm-up apart, at batch 1 and in bulk, evaluations counted."""

from __future__ import annotations

import time

import numpy as np
import torch

from xrec.explain.explainer import Explainer
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

WARM_UPS = 2


def latency(
    explainer: Explainer,
    model: Recommender,
    inputs: Inputs,
    target: Target,
    repeats: int,
    batch: int,
) -> dict[str, float]:
    """Seconds to explain a row (first call, p50, p95), rows a second at `batch`, evaluations.

    The first call is kept apart; two more warm up and are not counted. Each timed call
    explains another row. The bulk call repeats rows if there are fewer than `batch`.
    """

    def explain(rows: torch.Tensor) -> float:
        begin = time.perf_counter()
        explainer.explain(model, inputs.rows(rows), target)
        return time.perf_counter() - begin

    def row(at: int) -> torch.Tensor:
        return torch.tensor([at % len(inputs)])

    first = explain(row(0))
    for at in range(WARM_UPS):
        explain(row(at))
    single = [explain(row(at)) for at in range(repeats)]
    bulk = torch.arange(batch) % len(inputs)
    seconds = explain(bulk)
    cost = explainer.explain(model, inputs.rows(row(0)), target).cost
    return {
        "first": first,
        "p50": float(np.percentile(single, 50)),
        "p95": float(np.percentile(single, 95)),
        "throughput": batch / seconds,
        "batch": batch,
        "repeats": repeats,
        "warm_ups": WARM_UPS,
        "forward": cost.forward,
        "backward": cost.backward,
        "threads": torch.get_num_threads(),
    }
