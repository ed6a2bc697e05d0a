"""How cheaply are Shapley values had? xrec against shap and captum, called as their pages show.

All explain the same logits of one trained model for the same users, whose recommendations have 12
features each, and are held against exact values by enumeration. The rivals are given the model's
score as a plain function of masks, a batch of masks at once. The relative error is the length of
the difference from the exact values over their length, mean over users.

First, each side's smallest budget, on a grid, with a relative error of 0.1 is found, and the sides
are then timed at theirs, in turn. Second, amortised Shapley is trained, on other users, and
timed against the model's own forward pass; corrected with 64 coalitions, it is held against shap's
KernelExplainer with 512.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import shap
import torch
from captum.attr import KernelShap, ShapleyValueSampling
from machine import Spread
from scipy import stats
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.explain.enumeration import enumerated
from xrec.explain.explainer import Explainer
from xrec.explain.lessons import parted
from xrec.explain.probe import probe
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.options import DataOptions, TrainOptions
from xrec.runs.training import fit
from xrec_plugins.datasets.planted import PlantedWorld
from xrec_plugins.encoders.hashed import Hashed
from xrec_plugins.explainers.amortised_shapley import HELD_OUT, AmortisedShapley
from xrec_plugins.explainers.fast_shapley import FastShapley
from xrec_plugins.models.sequential import Sequential

SEED = 0
ERROR = 0.1  # relative, that every side is to reach
SEEDS = 4  # of the coalitions by which a prediction is corrected, and of shap's
RIVALS = ("shap_kernel", "shap_permutation", "captum_kernel_shap", "captum_sampling")

logging.getLogger("shap").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Size:
    """The model's training, users explained, repeats, and the training of the amortised."""

    epochs: int
    users: int
    repeats: int
    amortised: Mapping[str, Any]


SHORT = Size(epochs=2, users=8, repeats=3, amortised={"epochs": 5, "rows": 1024})
FULL = Size(epochs=20, users=128, repeats=10, amortised={"epochs": 70, "rows": 28800, "rank": 64})

#: Budgets that are tried. Every sixth is twice the one before: the first of those that is enough is
#: found, and then the least between.
GRID = tuple(round(32 * 2 ** (step / 6)) for step in range(37))


def trained(epochs: int) -> tuple[Recommender, Data]:
    """A model of a planted world in which recommendations have 12 features."""
    torch.manual_seed(SEED)
    world = PlantedWorld(users=2000, seed=SEED)
    data = Data(world.load(), DataOptions(history=6), TrainOptions(epochs=epochs, lr=3e-3), SEED)
    model = Sequential().build(data, Hashed().encode(data.texts), Hashed())
    with tempfile.TemporaryDirectory() as folder:
        fit(model, data, [], Path(folder), Path(folder) / "checkpoint", lambda _: None)
    return model.eval(), data


def first_choices(model: Recommender, data: Data, users: Tensor) -> Batch:
    """What the model would recommend first to each user: that is what is explained."""
    batch = data.queries("test", users)
    with torch.no_grad():
        scores = model.catalogue(batch).masked_fill(data.seen(users, "test"), -torch.inf)
    scores[:, 0] = -torch.inf
    return batch.about(scores.argmax(1))


def unseen(model: Recommender, data: Data, users: int) -> Batch:
    """The first choices of users whom the amortised explainer does not learn from."""
    _, held = parted(data, HELD_OUT, SEED)
    return first_choices(model, data, held[:users].sort().values)


def scored(model: Recommender, inputs: Inputs, row: int) -> Callable[[Tensor], Tensor]:
    """(C,) logits of masks (C, n) of one row's players: what a rival is given."""
    one, players = inputs.rows(slice(row, row + 1)), inputs.players[row].nonzero()[:, 0]

    def score(masks: Tensor) -> Tensor:
        many = one.rows(torch.zeros(len(masks), dtype=torch.long))
        present = many.present.clone()
        present[:, players] = masks > 0.5
        with torch.no_grad():
            return model.score(many.with_present(present))

    return score


def shap_kernel(model: Recommender, inputs: Inputs, budget: int, seed: int = SEED) -> Tensor:
    """shap.KernelExplainer against a background of zeros, row after row."""
    found = []
    for row in range(len(inputs)):
        score = scored(model, inputs, row)
        n = int(inputs.players[row].sum())
        np.random.seed(seed)
        explainer = shap.KernelExplainer(
            lambda masks, score=score: score(torch.from_numpy(masks)).numpy(), np.zeros((1, n))
        )
        values = explainer.shap_values(np.ones((1, n)), nsamples=budget, l1_reg=0, silent=True)
        found.append(torch.from_numpy(values[0]))
    return torch.stack(found)


def shap_permutation(model: Recommender, inputs: Inputs, budget: int) -> Tensor:
    """shap.PermutationExplainer against a background of zeros, row after row."""
    found = []
    for row in range(len(inputs)):
        score = scored(model, inputs, row)
        n = int(inputs.players[row].sum())
        np.random.seed(SEED)
        explainer = shap.PermutationExplainer(
            lambda masks, score=score: score(torch.from_numpy(masks)).numpy(),
            shap.maskers.Independent(np.zeros((1, n))),
        )
        most = max(budget, 2 * n + 1)
        told = explainer(np.ones((1, n)), max_evals=most, silent=True)
        found.append(torch.from_numpy(told.values[0]))
    return torch.stack(found)


def captum_kernel_shap(model: Recommender, inputs: Inputs, budget: int) -> Tensor:
    """captum.attr.KernelShap, row after row, all of a row's masks at once."""
    found = []
    torch.manual_seed(SEED)
    for row in range(len(inputs)):
        n = int(inputs.players[row].sum())
        method = KernelShap(scored(model, inputs, row))
        found.append(
            method.attribute(torch.ones(1, n), n_samples=budget, perturbations_per_eval=budget)[0]
        )
    return torch.stack(found)


def captum_sampling(model: Recommender, inputs: Inputs, budget: int) -> Tensor:
    """captum.attr.ShapleyValueSampling, all rows at once, as it allows."""
    n = int(inputs.players[0].sum())
    slots = inputs.players.nonzero()[:, 1].view(len(inputs), n)

    def score(masks: Tensor) -> Tensor:
        times = len(masks) // len(inputs)
        present = inputs.present.repeat(times, 1)
        present.scatter_(1, slots.repeat(times, 1), masks > 0.5)
        with torch.no_grad():
            many = inputs.rows(torch.arange(len(inputs)).repeat(times))
            return model.score(many.with_present(present))

    torch.manual_seed(SEED)
    samples = max(1, round(budget / n))
    method = ShapleyValueSampling(score)
    return method.attribute(torch.ones(len(inputs), n), n_samples=samples, perturbations_per_eval=4)


def fast(model: Recommender, inputs: Inputs, budget: int) -> Tensor:
    """xrec's fast_shapley with as many evaluations a row."""
    told = FastShapley(evaluations=budget, error=0, seed=SEED).explain(model, inputs, logit)
    n = int(inputs.players[0].sum())
    return told.values[inputs.players].view(len(inputs), n)


SIDES: Mapping[str, Callable[[Recommender, Inputs, int], Tensor]] = {
    "fast_shapley": fast,
    "shap_kernel": shap_kernel,
    "shap_permutation": shap_permutation,
    "captum_kernel_shap": captum_kernel_shap,
    "captum_sampling": captum_sampling,
}


def relative(values: Tensor, exact: Tensor) -> float:
    """The mean relative error over rows."""
    return float(((values.double() - exact).norm(dim=1) / exact.norm(dim=1)).mean())


def exactly(model: Recommender, inputs: Inputs) -> Tensor:
    """(B, n) exact values."""
    with probe(model):
        values = enumerated(model, inputs, logit, "remove")[0]
    return values[inputs.players].view(len(inputs), -1)


def reached(
    side: str, model: Recommender, inputs: Inputs, exact: Tensor
) -> tuple[int, list[dict[str, Any]]]:
    """The smallest budget of the grid at which a side reaches the error, and what was tried.

    A side that reaches it at none has the largest.
    """
    rows: list[dict[str, Any]] = []

    def enough(budget: int) -> bool:
        with probe(model) as cost:
            error = relative(SIDES[side](model, inputs, budget), exact)
        each = cost.forward / len(inputs)
        rows.append({"side": side, "budget": budget, "evaluations": each, "error": error})
        return error <= ERROR

    for at in range(0, len(GRID), 6):
        if enough(GRID[at]):
            finer = GRID[max(0, at - 5) : at]
            found = next((budget for budget in finer if enough(budget)), None)
            if found is None and finer:
                enough(GRID[at])  # so that the last row is of the budget
            return found or GRID[at], rows
    print(f"{side} does not reach a relative error of {ERROR}: it has its largest budget")
    return GRID[-1], rows


def race(model: Recommender, inputs: Inputs, repeats: int) -> tuple[list[dict[str, Any]], dict]:
    """Time every side at its budget, in turn; returns raw rows and figures."""
    exact = exactly(model, inputs)
    budgets, rows, needs = {}, [], {}
    for side in SIDES:
        budgets[side], tried = reached(side, model, inputs, exact)
        needs[side] = tried[-1]["evaluations"]
        rows += tried
        print(f"{side}: {needs[side]:.0f} evaluations a row, error {tried[-1]['error']:.3f}")
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for repeat in range(repeats):
        for side in list(SIDES)[:: -1 if repeat % 2 else 1]:
            begin, spent = perf_counter(), process_time()
            SIDES[side](model, inputs, budgets[side])
            took = perf_counter() - begin
            seconds[side].append(took)
            rows.append(
                {"side": side, "repeat": repeat, "wall_s": took, "cpu_s": process_time() - spent}
            )
    for side, taken in seconds.items():
        print(f"{side}: {Spread.of([1e3 * each / len(inputs) for each in taken])} ms a row")
    best = min(RIVALS, key=lambda side: statistics.median(seconds[side]))
    ratios = [
        our / their for our, their in zip(seconds["fast_shapley"], seconds[best], strict=True)
    ]
    print(f"fast_shapley / {best}, wall_s: {Spread.of(ratios)}")
    figures = {
        "shapley_time_ratio": round(statistics.median(ratios), 4),
        "shapley_evaluation_ratio": round(
            needs["fast_shapley"] / min(needs[side] for side in RIVALS), 4
        ),
    }
    return rows, figures


def latencies(
    explainer: Explainer, model: Recommender, batch: Batch, size: int, repeats: int
) -> list[dict[str, Any]]:
    """Seconds of the model's forward pass, and of embedding and explaining, in turn."""
    rows = []
    for repeat in range(-2, repeats):  # two to warm up
        at = torch.arange(size) + max(0, repeat) * size
        some = batch.rows(at % len(batch))
        took = {}
        for side in ("forward", "amortised")[:: -1 if repeat % 2 else 1]:
            begin = perf_counter()
            with torch.no_grad():
                if side == "forward":
                    model(some)
                else:
                    explainer.explain(model, model.embed(some), logit)
            took[side] = perf_counter() - begin
        if repeat >= 0:
            rows += [
                {"side": f"{side}_b{size}", "repeat": repeat, "wall_s": took[side]} for side in took
            ]
    return rows


def amortisation(
    model: Recommender, data: Data, batch: Batch, options: Mapping[str, Any], repeats: int
) -> tuple[list[dict[str, Any]], dict]:
    """Train the amortised explainer and try it on a batch of users held out from its training."""
    explainer = AmortisedShapley(**options, seed=SEED)
    told = explainer.fit(model, data)
    print(f"training: {told}")
    with torch.no_grad():
        inputs = model.embed(batch)
    exact = exactly(model, inputs)
    values = explainer.explain(model, inputs, logit).values[inputs.players].view_as(exact)
    ranks = [stats.spearmanr(*pair).statistic for pair in zip(values, exact, strict=True)]
    rows: list[dict[str, Any]] = [{"side": "training", **told}]
    figures: dict[str, Any] = {}
    for size in (1, 64):
        mine = latencies(explainer, model, batch, size, repeats * (10 if size == 1 else 3))
        rows += mine
        sides = [
            [row["wall_s"] for row in mine if row["side"] == f"{side}_b{size}"]
            for side in ("amortised", "forward")
        ]
        ratios = [one / two for one, two in zip(*sides, strict=True)]
        print(f"amortised / forward at batch {size}: {Spread.of(ratios)}")
        figures[f"amortised_latency_ratio_b{size}"] = round(statistics.median(ratios), 4)
    errors: dict[str, list[float]] = {"corrected": [], "shap_kernel_512": []}
    for seed in range(SEED, SEED + SEEDS):
        corrected = AmortisedShapley(evaluations=64, **options, seed=seed)
        corrected.restore(explainer.state(), model, data)
        better = corrected.explain(model, inputs, logit).values[inputs.players].view_as(exact)
        errors["corrected"].append(relative(better, exact))
        theirs = shap_kernel(model, inputs, 512, seed)
        errors["shap_kernel_512"].append(relative(theirs, exact))
    print(f"amortised: relative error {relative(values, exact):.4f}")
    rows.append({"side": "amortised", "error": relative(values, exact)})
    for side, found in errors.items():
        rows += [{"side": side, "repeat": at, "error": error} for at, error in enumerate(found)]
        each = ", ".join(f"{error:.4f}" for error in found)
        print(f"{side}: relative error {np.mean(found):.4f}, by seed {each}")
    figures["amortised_rank_correlation"] = round(float(np.mean(ranks)), 4)
    figures["corrected_error_ratio"] = round(
        float(np.mean(errors["corrected"]) / np.mean(errors["shap_kernel_512"])), 4
    )
    return rows, figures
