"""Layer conductance, by captum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from captum.attr import LayerConductance as CaptumLayerConductance
from torch import Tensor, nn

from xrec import hookimpl
from xrec.errors import XrecError
from xrec.explain.baseline import FromBaseline
from xrec.explain.explanation import Explanation
from xrec.explain.gradients import Gradients
from xrec.explain.probe import probe
from xrec.explain.readings import laid_out
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass
class LayerConductance(FromBaseline):
    """What flows through each slot's state after a layer (Dhamdhere et al., 2019).

    The path is that of Integrated Gradients. A slot's state holds what it has read of others by
    then, so that a value is about the place and not the feature: a heuristic. What flows through
    fixed slots, or past the layers, as the item of a `sequential` model does, is not attributed.

    Options: layer, which of the model's layers, from 0, or from the end if negative; steps, the
    differences on the path; and those of the baseline.
    """

    budget: ClassVar[str] = "steps"

    standing: ClassVar[str] = "heuristic"

    layer: int = 0
    steps: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}, it must be at least 1")

    @property
    def excused(self) -> dict[str, str]:
        """Gates whose models have no layers."""
        axioms = ("linear", "completeness", "symmetry", "dummy")
        return dict.fromkeys(axioms, "it says what flows through a layer, not from a feature")

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain B rows with `steps` + 1 gradients each, and two evaluations, for each baseline.

        Raises XrecError: the model has no such layer, or the layer gives states of fewer slots
        than it reads.
        """
        layer = self._layer(model)
        with probe(model) as cost:
            of, tap = Gradients(model, inputs, target), Tap(type(model).__name__, self.layer)

            def said(values: Tensor, row: Tensor) -> Tensor:
                tap.rows = len(row)
                return of(values, row)

            def attribute(rows: Tensor, start: Tensor) -> Tensor:
                heard = layer.register_forward_hook(tap.hear, with_kwargs=True)
                try:
                    found: Tensor = CaptumLayerConductance(said, tap).attribute(
                        of.vectors[rows],
                        baselines=start,
                        additional_forward_args=(rows,),
                        n_steps=self.steps,
                    )
                finally:
                    heard.remove()
                return laid_out(found.sum(-1), inputs.rows(rows), model.read_from(inputs))

            values, base = self.averaged(of, attribute, copies=self.steps + 1)
            score = of.score()
        unknown = torch.full_like(score, torch.nan)
        return Explanation.of(inputs, values, score, base, cost, "layer_conductance", unknown)

    def _layer(self, model: Recommender) -> nn.Module:
        layers, name = model.layers_read, type(model).__name__
        if not -len(layers) <= self.layer < len(layers):
            raise XrecError(
                f"explainer 'layer_conductance': the model {name} has {len(layers)} layers to look "
                f"into, and none at {self.layer}"
            )
        return layers[self.layer]


class Tap(nn.Module):
    """Where captum looks at a layer: states (N, k, S, D) of N rows, in k readings of each."""

    def __init__(self, model: str, layer: int) -> None:
        super().__init__()
        self.model, self.layer, self.rows = model, layer, 0

    def forward(self, states: Tensor) -> Tensor:
        """The states themselves."""
        return states

    def hear(
        self, layer: nn.Module, read: tuple[Any, ...], named: Mapping[str, Any], gave: Any
    ) -> Any:
        """Pass what a layer gives through this module: a forward hook."""
        states, *more = gave if isinstance(gave, tuple) else (gave,)
        before = next(t for t in (*read, *named.values()) if isinstance(t, Tensor))
        if states.shape[1] < before.shape[1]:
            raise XrecError(
                f"explainer 'layer_conductance': layer {self.layer} of the model {self.model} "
                "gives states only of the slots that the score is made of: choose an earlier layer"
            )
        each = states.unflatten(0, (-1, self.rows)).transpose(0, 1)
        states = self(each).transpose(0, 1).flatten(0, 1)
        return (states, *more) if isinstance(gave, tuple) else states


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer layer conductance."""
    return {"layer_conductance": LayerConductance}
