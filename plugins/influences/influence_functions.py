"""Influence functions, by captum."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from captum.influence import NaiveInfluenceFunction
from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from xrec import hookimpl
from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.errors import XrecError, nearest
from xrec.influence.checkpoint import Checkpoint
from xrec.influence.influence import Trace
from xrec.influence.objective import EACH, QUERIES, TOGETHER, Itself
from xrec.models.recommender import Recommender
from xrec_plugins.influences.scope import Scope

READ = 256  # interactions whose mean loss is found at once, for the Hessian
HESSIANS = ("arnoldi", "exact")


@dataclass(frozen=True)
class InfluenceFunctions(Scope):
    """By how much the logit would fall without an interaction (Koh and Liang, 2017).

    To first order, for a model at the minimum of its training loss: the logit's gradient, times the
    inverse Hessian of the summed loss, times the gradient of the interaction's loss, in logits. A
    network that was stopped early is at no minimum; then values tell interactions apart, roughly
    (Bae et al., 2022). The Hessian is that of the last weights, on the interactions drawn.

    hessian: "arnoldi", its largest eigenvalues by Arnoldi iteration, without forming it (Schioppa
        et al., 2022), or "exact", formed whole, for some thousand parameters at most.
    damping: added to the diagonal of the mean Hessian, as a penalty of half of it on squared
        parameters would add. Directions in which the loss curves downwards by more than half of it
        are left out.
    iterations: of Arnoldi, a pass over the interactions drawn each; dimensions: eigenvalues kept.
    """

    hessian: str = "arnoldi"
    damping: float = 0.01
    iterations: int = 50
    dimensions: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hessian not in HESSIANS:
            raise ValueError(f"hessian is '{self.hessian}': {nearest(self.hessian, HESSIANS)}")
        if self.damping <= 0:
            raise ValueError(f"damping is {self.damping}, it must be above 0")
        if self.dimensions < 1:
            raise ValueError(f"dimensions is {self.dimensions}, it must be at least 1")
        if self.iterations < self.dimensions + 2:
            raise ValueError(
                f"iterations is {self.iterations}, it must be at least {self.dimensions + 2}, two "
                "more than dimensions"
            )

    def trace(
        self, model: Recommender, checkpoints: Sequence[Checkpoint], data: Data, queries: Batch
    ) -> Trace:
        """Trace B queries by the last weights, at a cost of the Hessian and M + B gradients.

        Raises XrecError: the parameters are too many for the memory that may be taken, or the loss
        curves upwards in no direction.
        """
        with self.objective(model, data, queries) as objective:
            self._check_memory(objective.size)
            places = torch.arange(len(objective.interactions))
            drawn = objective.interactions.drawn
            with sdpa_kernel(SDPBackend.MATH), _curved():  # others have no second derivative
                found = self._captum(
                    model=objective,
                    train_dataset=objective.loader(EACH, places),
                    checkpoint="",
                    checkpoints_load_func=lambda model, checkpoint: 1.0,  # it has its weights
                    loss_fn=Itself(),
                    hessian_dataset=objective.loader(TOGETHER, places[:drawn], READ),
                    test_loss_fn=Itself(),
                    seed=self.seed,
                    hessian_reg=self.damping * drawn,
                    hessian_inverse_tol=self.damping * drawn / 2,
                )
                asked = objective.loader(QUERIES, torch.arange(len(queries)))
                values: Tensor = found.influence(asked)
        # The Hessian is summed over those drawn, and that of training over all.
        values = values * drawn / objective.interactions.total
        return Trace.of(objective, values, "influence functions")

    def _captum(self, **given: Any) -> Any:
        if self.hessian == "exact":
            return NaiveInfluenceFunction(projection_dim=None, **given)
        return ArnoldiInfluenceFunction(
            projection_dim=self.dimensions,
            arnoldi_dim=self.iterations,
            arnoldi_tol=given["hessian_reg"] / 100,  # far below the damping nothing is told apart
            **given,
        )

    def _check_memory(self, size: int) -> None:
        vectors = size if self.hessian == "exact" else self.iterations + self.dimensions
        if 4 * size * vectors > self.max_bytes:
            raise XrecError(
                f"influence influence_functions: {size:,} parameters and {vectors:,} vectors of as "
                f"many numbers are more than max_bytes ({self.max_bytes:,}) holds: name fewer "
                "under parts, or allow more"
            )


@contextmanager
def _curved() -> Iterator[None]:
    """Put what captum says of a Hessian without positive eigenvalues, a bare Exception, in words.

    Raises XrecError in its place.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*To copy construct from a tensor.*")
            yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise XrecError(
            "influence influence_functions: the training loss curves upwards in no direction that "
            "was found: raise damping, or train for longer"
        ) from error


@hookimpl
def xrec_influences() -> dict[str, type]:
    """Offer influence functions."""
    return {"influence_functions": InfluenceFunctions}
