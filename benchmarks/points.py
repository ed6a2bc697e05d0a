"""What a compressed model is worth: how it ranks, how long it takes, how it is explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from chains import World, base, chained, compiled, settled
from machine import Spread, timed
from torch import Tensor

from xrec.bench.agreement import agreement
from xrec.bench.trained import drawn
from xrec.compress.chain import QUALITY
from xrec.compress.state import size
from xrec.data.batches import Batch
from xrec.errors import XrecError
from xrec.explain.explainer import Explainer
from xrec.explain.explanation import Explanation
from xrec.fidelity.correlation import likeness
from xrec.fidelity.statistics import bootstrap, paired
from xrec.models.quality import ranking_metrics
from xrec.models.recommender import Recommender
from xrec.runs.explaining import explained
from xrec.runs.run import Run
from xrec_plugins.explainers.fast_shapley import FastShapley
from xrec_plugins.explainers.integrated_gradients import IntegratedGradients

EAGER, COMPILED = "fp32", "fp32, compiled"
FP32 = (EAGER, COMPILED)
SHAPLEY, GRADIENTS, DRAWN = "fast_shapley", "integrated_gradients", "fast_shapley, other seed"
ORDER, FIRST = "order", 10  # of the items that fp32 puts first
CLOSE = 1e-3  # by which compiled logits may differ from those that they stand for
WARM_UP = 2  # times that each side ranks every row before anything is timed


@dataclass(frozen=True)
class Side:
    """A model that takes part: what it is called, its run, and the model itself.

    validation: NDCG@10 of the users who validate, where it is known.
    """

    name: str
    run: Run
    model: Recommender
    validation: float | None

    @property
    def compressed(self) -> bool:
        """Whether a chain made it."""
        return self.name not in FP32

    def gains(self) -> np.ndarray:
        """(U,) NDCG@10 of each test user."""
        rows = self.run.store.table("ranks.parquet").filter(model=self.run.recipe.model.name)
        found: np.ndarray = ranking_metrics(torch.tensor(rows["rank"].to_numpy()))[QUALITY].numpy()
        return found


def sides(world: World, out: Any) -> tuple[list[Side], dict[str, str]]:
    """All that take part, fp32 first, and why a chain does not.

    Raises XrecError where a compiled fp32 model does not say what it says uncompiled.
    """
    run = base(world, out)
    found, refused = [], {}
    before: float | None = None
    for name, made in chained(world, out):
        if isinstance(made, XrecError):
            refused[name] = str(made)
            continue
        told = [made.store.json(f"{step}.json") for step in made.steps]
        before = told[0]["before"][QUALITY]
        found.append(Side(name, made, made.model, told[-1]["after"][QUALITY]))
    model = settled(run.trained)
    fast = compiled(model)
    _check(fast, model, asked(world, run)[0])
    fp32 = [Side(EAGER, run, model, before), Side(COMPILED, run, fast, before)]
    return [*fp32, *found], refused


def asked(world: World, run: Run) -> list[Batch]:
    """The requests that are timed: the rows of some test users."""
    queries = run.data.queries("test", drawn(run, world.asked))
    return [queries.rows(slice(at, at + 1)) for at in range(len(queries))]


@torch.no_grad()
def _check(fast: Recommender, model: Recommender, row: Batch) -> None:
    """Raise XrecError where a compiled model says other than the model it is of."""
    apart = float((fast.catalogue(row) - model.catalogue(row)).abs().max())
    if apart > CLOSE:
        raise XrecError(f"{COMPILED} says other than {EAGER}: a logit differs by {apart:.2g}")


@torch.no_grad()
def paces(world: World, taking: Sequence[Side]) -> list[dict[str, Any]]:
    """A row for each turn and side: seconds to rank one user's request, by wall and processor.

    The sides take turns, there and back, on the same request. Each ranks it once untimed first, as
    a server's model would not have been turned out of the caches by the others.
    """
    rows = asked(world, taking[0].run)
    for side in taking:
        for row in rows * WARM_UP:
            side.model.catalogue(row)
    found = []
    for turn in range(world.turns):
        row = rows[turn % len(rows)]
        for side in taking[:: -1 if turn % 2 else 1]:
            side.model.catalogue(row)
            wall, cpu = timed(lambda side=side, row=row: side.model.catalogue(row))
            found.append(
                {
                    "chain": side.name,
                    "turn": turn,
                    "user": int(row.user),
                    "wall_s": round(wall, 6),
                    "cpu_s": round(cpu, 6),
                }
            )
    return found


def seconds(rows: Sequence[Mapping[str, Any]], name: str, unit: str = "wall_s") -> np.ndarray:
    """(T,) what a side took in each turn, in the order of the turns."""
    own = sorted((row for row in rows if row["chain"] == name), key=lambda row: row["turn"])
    return np.array([row[unit] for row in own])


def times(rows: Sequence[Mapping[str, Any]], name: str, than: str, unit: str) -> Spread:
    """How many times quicker a side is than another, of each turn."""
    return Spread.of(list(seconds(rows, than, unit) / seconds(rows, name, unit)))


def drift(
    world: World, taking: Sequence[Side]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """Of each side and explainer, (B,) the rank correlation with fp32's explanations, and order.

    All explain what fp32 recommends first. fp32 itself is explained with other coalitions too: that
    is what drawing alone does. Second, of each side that gradients are not to be believed of, why.
    """
    plain = taking[0]
    subject = plain.run.first_choices(drawn(plain.run, world.users), "test")
    explainers: dict[str, Explainer] = {
        SHAPLEY: FastShapley(evaluations=world.evaluations, error=0),
        GRADIENTS: IntegratedGradients(steps=world.steps),
    }

    def told(side: Side, explainer: Explainer) -> Explanation:
        with torch.no_grad():
            inputs = side.model.embed(subject.batch)
        return explained(plain.run, explainer, inputs, side.model)

    references = {name: told(plain, each) for name, each in explainers.items()}
    other = told(plain, FastShapley(evaluations=world.evaluations, error=0, seed=1))
    alike = {plain.name: {DRAWN: agreement(other, references[SHAPLEY])["agreement_rank"]}}
    said = {}
    with torch.no_grad():
        wanted = plain.model.catalogue(subject.batch)
    for side in (side for side in taking if side.compressed):
        alike[side.name] = {ORDER: ordered(side.model, wanted, subject.batch)}
        for name, explainer in explainers.items():
            if name == GRADIENTS and not side.model.slope.trusted:
                said[side.name] = side.model.slope.said
                continue
            found = agreement(told(side, explainer), references[name])
            alike[side.name][name] = found["agreement_rank"]
    return alike, said


@torch.no_grad()
def ordered(model: Recommender, wanted: Tensor, batch: Batch) -> Tensor:
    """(B,) the rank correlation of a model's logits with `wanted` (B, N + 1), of those first there.

    Column 0 is padding.
    """
    found, first = model.catalogue(batch), 1 + wanted[:, 1:].topk(FIRST, dim=1).indices
    there = torch.ones_like(first, dtype=torch.bool)
    return likeness(found.gather(1, first), wanted.gather(1, first), there)


def point(
    side: Side,
    plain: Side,
    rows: Sequence[Mapping[str, Any]],
    alike: Mapping[str, Tensor],
    said: str,
) -> dict[str, Any]:
    """All that was found of a side, as a raw row; losses are relative to fp32's quality."""
    held, before = size(side.model), size(plain.model)
    gains, theirs = side.gains(), plain.gains()
    ranks, gap = bootstrap(gains), paired(gains, theirs)
    milliseconds = Spread.of(list(1e3 * seconds(rows, side.name)))
    row: dict[str, Any] = {
        "chain": side.name,
        "parameters": held["parameters"],
        "bytes": held["bytes"],
        "bytes_ratio": before["bytes"] / held["bytes"],
        "ndcg10": ranks["mean"],
        "ndcg10 low": ranks["low"],
        "ndcg10 high": ranks["high"],
        "gap": gap["gap"],
        "gap low": gap["low"],
        "gap high": gap["high"],
        "loss": 1 - ranks["mean"] / float(theirs.mean()),
        "validation": side.validation,
        "validation_loss": _lost(side, plain),
        "ms": milliseconds.median,
        "ms low": milliseconds.quartiles[0],
        "ms high": milliseconds.quartiles[1],
        "gradients": said,
    }
    for unit in ("wall_s", "cpu_s"):
        for than in FP32:
            ratio = times(rows, side.name, than, unit)
            key = f"{unit[:-2]} times {than}"
            row |= {key: ratio.median, f"{key} low": ratio.quartiles[0]}
            row |= {f"{key} high": ratio.quartiles[1]}
    for name, each in alike.items():
        mean = bootstrap(each.numpy())
        row |= {name: mean["mean"], f"{name} low": mean["low"], f"{name} high": mean["high"]}
    return row


def _lost(side: Side, plain: Side) -> float | None:
    if side.validation is None or not plain.validation:
        return None
    return 1 - side.validation / plain.validation
