"""Integrated Gradients of which each row takes as many steps as it needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xrec import hookimpl
from xrec.explain.baseline import FromBaseline
from xrec.explain.explanation import Explanation
from xrec.explain.gradients import Gradients
from xrec.explain.probe import probe
from xrec.explain.quadrature import Integrals, integrate
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

TIGHT = 1e-4  # tolerances up to here begin with panels of 9 points, others with panels of 5
FEWEST = {2: 13, 3: 25}  # the points that the first panels have in all, by their level
NOISE = 8  # times the precision of its number: what a score may be off by, and no step can mend


@dataclass
class AdaptiveIntegratedGradients(FromBaseline):
    """Integrated Gradients that stop, row by row, when their completeness error is small enough.

    The straight path from the baseline is cut into panels with nested Clenshaw-Curtis rules. What
    the slopes sum to over a panel is known from the scores at its ends, so that each panel's error
    is seen; only panels that err get more points, and every point is used to the end. Score and
    base are those of the path's ends.

    Options: tolerance, in logits, what the sizes of the errors of a path's panels may sum to: the
    completeness error is no more than that (nor less than what the precision of the model's numbers
    allows: where that is more, it is the tolerance). max_steps, the most points on a path: where
    they do not do, the error reported says so. And those of the baseline.

    The explanation's `steps` are the points that each row took, all baselines together.
    """

    tolerance: float = 0.01
    max_steps: int = 513

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tolerance > 0:
            raise ValueError(f"tolerance is {self.tolerance}, it must be above 0")
        if self.max_steps < FEWEST[2]:
            raise ValueError(f"max_steps is {self.max_steps}, it must be at least {FEWEST[2]}")

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain B rows; a step is a forward and a backward evaluation."""
        with probe(model) as cost:
            of = Gradients(model, inputs, target)
            samples = self.samples if self.baseline == "users" else 1
            whole = of.by_chunks(lambda rows: self._block(of, rows), samples)
        score, base, steps = whole[:, -3:].unbind(1)
        values, score, base = (t.to(of.vectors.dtype) for t in (whole[:, :-3], score, base))
        name = "adaptive_integrated_gradients"
        steps = steps.round().long()
        return Explanation.of(inputs, values, score, base, cost, name, steps=steps)

    def _block(self, of: Gradients, rows: Tensor) -> Tensor:
        """(n, F + 3) contributions, score, base and steps of rows (n,)."""
        starts = torch.stack(self.starts(of.model, of.inputs.rows(rows)))
        count = len(starts)
        found = self._integrals(of, rows.repeat(count), starts.flatten(0, 1))
        steps = found.steps.double() * count  # so that their mean is their sum
        told = torch.stack([found.said, found.base, steps], dim=1)
        return torch.cat([found.values, told], dim=1).unflatten(0, (count, -1)).mean(0)

    def _integrals(self, of: Gradients, row: Tensor, start: Tensor) -> Integrals:
        """Of paths from start (P, F, D) to the features of rows (P,)."""
        players = of.inputs.players
        end = of.vectors[row]
        way = torch.where(players[row][..., None], end - start, 0)

        def asked(path: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
            said, slope = [], []
            for some, at in zip(path.split(of.at_once), place.split(of.at_once), strict=True):
                weight = at.to(end.dtype)[:, None, None]
                with torch.enable_grad():
                    values = torch.lerp(start[some], end[some], weight).requires_grad_()
                    found = of(values, row[some])
                    (gradient,) = torch.autograd.grad(found.sum(), values)
                said.append(found.detach())
                slope.append((gradient * way[some]).sum(-1))
            return torch.cat(said), torch.cat(slope)

        level = 3 if self.tolerance <= TIGHT and self.max_steps >= FEWEST[3] else 2
        paths = torch.arange(len(row), device=row.device)
        precision = NOISE * torch.finfo(end.dtype).eps
        return integrate(asked, paths, level, self.tolerance, precision, self.max_steps)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer adaptive Integrated Gradients."""
    return {"adaptive_integrated_gradients": AdaptiveIntegratedGradients}
