"""DeepLIFT, by captum."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from captum.attr import DeepLift as CaptumDeepLift
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from torch import Tensor, nn

from xrec import hookimpl
from xrec.explain.baseline import FromBaseline
from xrec.explain.explanation import Explanation
from xrec.explain.gradients import Gradients
from xrec.explain.probe import probe
from xrec.explain.readings import Heard
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass
class DeepLift(FromBaseline):
    """Differences from a baseline, passed back by the rescale rule (Shrikumar et al., 2017).

    captum has a rule for modules such as ReLU, Tanh, Sigmoid and Softmax; GELU, LayerNorm, and what
    a model computes by functions, products of attention among them, are passed by their gradient at
    the features. So for most transformers it is the gradient times the difference from the
    baseline. How far it is then from adding up is the error reported, the completeness gap.

    Options: those of the baseline.
    """

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain B rows with two evaluations and one gradient of both, for each baseline."""
        with probe(model) as cost:
            module = Compared(model, inputs, target)

            def attribute(rows: Tensor, start: Tensor) -> Tensor:
                with warnings.catch_warnings():  # that hooks are set, and taken away again
                    warnings.simplefilter("ignore")
                    found: Tensor = CaptumDeepLift(module).attribute(
                        module.of.vectors[rows], baselines=start, additional_forward_args=(rows,)
                    )
                return found.sum(-1)

            try:
                values, base = self.averaged(module.of, attribute, copies=2)
            finally:
                module.forget()
            score = module.of.score()
        return Explanation.of(inputs, values, score, base, cost, "deep_lift")


class Compared(nn.Module):
    """The model as captum wants it: rows at the features, then as many at the baseline.

    Its hooks look in the first half of what a layer reads for the features, and in the second for
    the baseline: so where a target has several readings of each row, they are put in that order.
    """

    def __init__(self, model: Recommender, inputs: Inputs, target: Target) -> None:
        super().__init__()
        self.model = model
        self.of = Gradients(model, inputs, target)
        self._hooked = Gradients(Heard.through(model, self._score), inputs, target)
        self._pairs = 0

    def forward(self, values: Tensor, row: Tensor) -> Tensor:
        """(2n,) the target of rows (n,) at the features, and at the baseline."""
        self._pairs = len(row) // 2
        return self._hooked(values, row)

    def _score(self, inputs: Inputs, *task: int) -> Tensor:
        order = torch.arange(len(inputs), device=inputs.values.device)
        order = order.view(-1, 2, self._pairs).transpose(0, 1).flatten()
        return self.model.score(inputs.rows(order), *task)[order.argsort()]

    def forget(self) -> None:
        """Take away what captum left at modules that the gradient did not come by."""
        for module in self.model.modules():
            if type(module) in SUPPORTED_NON_LINEAR:
                for name in ("input", "output"):
                    vars(module).pop(name, None)


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer DeepLIFT."""
    return {"deep_lift": DeepLift}
