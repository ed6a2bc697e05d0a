"""Parameter randomisation: whether an explanation changes when the model forgets what it learned.

After Adebayo et al. (2018, "Sanity Checks for Saliency Maps"), made smooth as Hedström et al. have
it (2024, "A Fresh Look at Sanity Checks for Saliency Maps"): sMPRT.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from xrec import hookimpl
from xrec.explain.target import Target
from xrec.fidelity.correlation import likeness
from xrec.fidelity.metric import Case
from xrec.fidelity.perturbation import perturbed
from xrec.fidelity.retelling import Retelling
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass(frozen=True)
class ParameterRandomisation:
    """Spearman's correlation of the explanation with those of the model as it is made random.

    Layer by layer from the head down, and all above stay random, the parameters that the target
    depends on are drawn anew, with the mean and the deviation that each tensor had. At each step
    the explanations of some copies of the features with a little noise are averaged, as the
    original is, and the two are correlated over the row's players; smprt is the mean over the
    steps. An explanation that is constant, and stays it, correlates by 1: it does not change at
    all; one that becomes constant, or was, by 0. NaN for fewer than two players.

    The feature vectors are not drawn anew, as they are what is explained. A layer is a module with
    parameters of its own, in the order in which the model names its modules, last to first.

    Options: steps, in how many the model is made random: where it has more layers, neighbours go
    together; noises, how many copies are averaged; noise, their deviation in units of the root mean
    square of the row's numbers; rows, how many of the first rows; the others are NaN.

    Pitfalls: learned explainers are not taught anew, so that they are blind to it by construction.
    What an explanation says of the vectors, as gradient × input does, stays when the model goes, so
    that 0 is not to be expected. Noise has a low correlation too: it shows who does not look at the
    model, not who looks well. Where all contributions are nearly the same the order is that of
    rounding. A parameter that is one number, or whose numbers are all the same, stays.
    """

    measures: ClassVar[Mapping[str, str]] = {"smprt": "lower"}
    plays: ClassVar[bool] = False
    retells: ClassVar[bool] = True
    sees: ClassVar[Mapping[str, tuple[str, ...]]] = {"smprt": ("constant", "deaf", "stale")}

    steps: int = 4
    noises: int = 3
    noise: float = 0.05
    rows: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "noises", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.noise < 0:
            raise ValueError(f"noise is {self.noise}, it must not be below 0")

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) correlations.

        Nothing where the explainer cannot be asked again, nor where no gradient of the target
        reaches a parameter.
        """
        if case.retelling is None:
            return {}
        few = case.inputs.rows(slice(self.rows))
        twin = copy.deepcopy(case.model).eval()
        layers = layers_of(twin, few, case.target)
        if not layers:
            return {}
        generator = torch.Generator().manual_seed(case.seed)
        rows, slots, width = few.values.shape
        noise = torch.randn(rows, self.noises, slots, width, generator=generator)
        noisy = perturbed(few, self.noise * noise)
        told, found = self._smooth(case.retelling, case.model, noisy, case.target), []
        for some in np.array_split(np.arange(len(layers)), min(self.steps, len(layers))):
            for at in some:
                redraw(layers[at], generator)
            other = self._smooth(case.retelling, twin, noisy, case.target)
            found.append(likeness(told, other, few.players))
        mean = torch.stack(found).mean(0)
        return {"smprt": pad(mean, (0, len(case.inputs) - rows), value=torch.nan)}

    def _smooth(
        self, retelling: Retelling, model: Recommender, noisy: Inputs, target: Target
    ) -> Tensor:
        """(B, F) the explanation averaged over the copies of each row."""
        told = retelling.of(model, noisy, target).values
        return told.unflatten(0, (-1, self.noises)).mean(1)


def layers_of(model: Recommender, inputs: Inputs, target: Target) -> list[list[nn.Parameter]]:
    """The parameters that a target depends on, by the module that owns them, last to first."""
    known = [each for each in model.parameters() if each.is_floating_point()]
    for parameter in known:
        parameter.requires_grad_()  # those too that were frozen in training
    with torch.enable_grad():
        said = target(model, inputs).sum()
    if not said.requires_grad:
        return []
    reached = torch.autograd.grad(said, known, allow_unused=True)
    used = {id(p) for p, slope in zip(known, reached, strict=True) if slope is not None}
    each = [
        [p for p in module.parameters(recurse=False) if id(p) in used] for module in model.modules()
    ]
    return [layer for layer in reversed(each) if layer]


@torch.no_grad()
def redraw(layer: list[nn.Parameter], generator: torch.Generator) -> None:
    """Draw the parameters of a layer anew, normal, with the mean and deviation that each had."""
    for parameter in layer:
        drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
        parameter.copy_(parameter.mean() + parameter.std(correction=0) * drawn)


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer parameter randomisation."""
    return {"parameter_randomisation": ParameterRandomisation}
