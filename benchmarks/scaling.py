"""What an explanation costs by the length of the history and by the batch, within a memory bound.

The model is a `sequential` one, untrained, as its cost does not depend on what it learned. Every
explainer explains by `explain_within` the bound; its peak memory, of tensors above the inputs, is
measured in a call of its own, as measuring takes time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

from xrec.data.module import Data
from xrec.explain.bounded import explain_within
from xrec.explain.explainer import Explainer, Trained
from xrec.explain.memory import peak_bytes
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.options import DataOptions, TrainOptions
from xrec.testing.world import SmallEncoder
from xrec_plugins.datasets.planted import PlantedWorld
from xrec_plugins.explainers.adaptive_integrated_gradients import AdaptiveIntegratedGradients
from xrec_plugins.explainers.amortised_shapley import AmortisedShapley
from xrec_plugins.explainers.fast_shapley import FastShapley
from xrec_plugins.explainers.integrated_gradients import IntegratedGradients
from xrec_plugins.explainers.kernel_shap import KernelShap
from xrec_plugins.models.sequential import Sequential

SEED = 0
BOUND = 64 * 2**20
EVALUATIONS = 512
WARM_UP = 1


@dataclass(frozen=True)
class Size:
    """Lengths at one batch, batches at one length, and how often each explains."""

    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    length: int
    batch: int
    repeats: int

    def points(self) -> list[tuple[int, int]]:
        """The lengths and batches that are measured."""
        by_length = [(length, self.batch) for length in self.lengths]
        return list(dict.fromkeys(by_length + [(self.length, batch) for batch in self.batches]))


SHORT = Size((10, 50), (1, 16), 10, 4, 2)
FULL = Size((10, 50, 100, 200), (1, 16, 64, 256), 50, 16, 3)


def explainers() -> dict[str, Explainer]:
    """Ours, and those of the libraries, at as many evaluations."""
    return {
        "fast_shapley": FastShapley(evaluations=EVALUATIONS, error=0),
        "amortised_shapley": AmortisedShapley(epochs=1),
        "adaptive_integrated_gradients": AdaptiveIntegratedGradients(),
        "kernel_shap": KernelShap(evaluations=EVALUATIONS),
        "integrated_gradients": IntegratedGradients(),
    }


def models(lengths: Sequence[int]) -> Iterator[tuple[int, Recommender]]:
    """A model for histories of each length, and users who have as long ones."""
    for length in sorted(set(lengths)):
        world = PlantedWorld(
            users=40, items=max(100, 4 * (2 * length + 4)), events=2 * length + 4, seed=SEED
        )
        data = Data(world.load(), DataOptions(history=length), TrainOptions(), SEED)
        torch.manual_seed(SEED)
        encoder = SmallEncoder()
        yield length, Sequential().build(data, encoder.encode(data.texts), encoder).eval()


def cost(explainer: Explainer, model: Recommender, inputs: Inputs, repeats: int) -> dict[str, Any]:
    """Seconds of each explanation, the median over repeats and their spread, and peak bytes."""

    def explain() -> object:
        return explain_within(BOUND, explainer, model, inputs, logit)

    peak = peak_bytes(explain)
    seconds = []
    for at in range(WARM_UP + repeats):
        begin = perf_counter()
        explain()
        if at >= WARM_UP:
            seconds.append((perf_counter() - begin) / len(inputs))
    first, median, third = np.quantile(seconds, [0.25, 0.5, 0.75])
    return {"seconds": median, "first_quartile": first, "third_quartile": third, "peak": peak}


def measure(size: Size) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Each explainer at each length and batch; raw rows, and the figure."""
    rows: list[dict[str, Any]] = []
    for length, model in models([length for length, _ in size.points()]):
        users = 1 + torch.arange(256) % (len(model.data_module.users) - 1)
        with torch.no_grad():
            inputs = model.embed(model.data_module.queries("test", users))
        for name, explainer in explainers().items():
            if isinstance(explainer, Trained):
                explainer.fit(model, model.data_module)
            for batch in [batch for at, batch in size.points() if at == length]:
                found = cost(explainer, model, inputs.rows(slice(0, batch)), size.repeats)
                rows.append({"side": name, "length": length, "batch": batch, **found})
                print(
                    f"{name}, length {length}, batch {batch}: {1000 * found['seconds']:.2f} ms an "
                    f"explanation, peak {found['peak'] / 2**20:.1f} MiB",
                    flush=True,
                )
    peak = max(row["peak"] for row in rows)
    return rows, {"peak_over_bound": round(peak / BOUND, 3)}
