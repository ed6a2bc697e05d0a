"""Gradient-weighted attention rollout: a heuristic, for models that attend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.gradients import Gradients, sloped
from xrec.explain.probe import probe
from xrec.explain.readings import Heard, check_attends, laid_out
from xrec.explain.target import Target
from xrec.models.attention import Watched
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class GradientRollout:
    """How much of each feature reaches the fixed slots by attention that speaks for the target.

    Each layer's attention times the gradient of the target by it, where that is positive, averaged
    over heads, is added to the identity that the residual path is, and the layers are multiplied
    (Chefer, Gur and Wolf, 2021). A contribution is what the row's fixed slots see of the slot. A
    heuristic: what speaks against the target is left out, and it does not sum to the score. The
    base is the target of zero vectors.
    """

    standing: ClassVar[str] = "heuristic"
    excused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("linear", "completeness", "symmetry", "dummy"),
        "it says where a model that attends looks, not what comes of it",
    )

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """One gradient a row, and two evaluations. Raises XrecError: the model does not attend."""
        check_attends("gradient_rollout", model)
        with probe(model) as cost:
            of = Gradients(model, inputs, target)
            values = of.by_chunks(lambda rows: relevance(model, inputs.rows(rows), target))
            score, base = of.score(), of.base()
        unknown = torch.full_like(score, torch.nan)
        return Explanation.of(inputs, values, score, base, cost, "gradient_rollout", unknown)


def relevance(model: Recommender, inputs: Inputs, target: Target) -> Tensor:
    """(B, F) of all that was read for the target of B rows."""
    given: list[Inputs] = []

    def score(these: Inputs, *task: int) -> Tensor:
        given.append(these)
        return model.score(these, *task)

    with torch.enable_grad(), model.watched() as readings:
        vectors = inputs.values.detach().requires_grad_()
        said = sloped(target(Heard.through(model, score), inputs.with_values(vectors)), vectors)
        maps = [each for reading in readings for each in reading.maps]
        slopes = torch.autograd.grad(said.sum(), maps, allow_unused=True, materialize_grads=True)
    found, values = iter(slopes), torch.zeros_like(inputs.values[..., 0])
    for these, reading in zip(given, readings, strict=True):
        seen = rolled(these, reading, [next(found) for _ in reading.maps])
        values += laid_out(
            seen.unflatten(0, (-1, len(inputs))).transpose(0, 1), inputs, reading.start
        )
    return values


@torch.no_grad()
def rolled(inputs: Inputs, reading: Watched, slopes: Sequence[Tensor]) -> Tensor:
    """(B, S) what the fixed slots see of each, by maps and their gradients (B, H, S, S)."""
    size = slopes[0].shape[-1]
    read = slice(reading.start, reading.start + size)
    there = inputs.present[:, read, None]
    reach = torch.eye(size, device=there.device, dtype=slopes[0].dtype)
    for seen, slope in zip(reading.maps, slopes, strict=True):
        # What the rows of absent slots say is of no account, and may be anything.
        for_it = torch.where(there, (seen * slope).clamp(min=0).mean(1), 0)
        reach = reach + for_it @ reach
    fixed = (inputs.features.fixed & inputs.present)[:, read]
    return (reach * fixed[..., None]).sum(1) / fixed.sum(1, keepdim=True).clamp(min=1)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer gradient-weighted attention rollout."""
    return {"gradient_rollout": GradientRollout}
