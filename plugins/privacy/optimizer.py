"""An optimizer that learns from clipped gradients of units, and noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from xrec_plugins.privacy.draws import Draws
from xrec_plugins.privacy.ledger import Ledger


class Noised(DPOptimizer):
    """Opacus' `DPOptimizer`, which is given a step's units some at a time.

    `begin`, `take` as often as there are units, none if none were drawn, and `step`. Its noise is
    from `draws`, of the step's number, and its state has the ledger.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        ledger: Ledger,
        clip: float,
        expected: int,
        draws: Callable[[int], Draws],
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=ledger.noise,
            max_grad_norm=clip,
            expected_batch_size=expected,
        )
        self.ledger, self.draws = ledger, draws
        self.attach_step_hook(ledger.step)

    def begin(self) -> None:
        """Forget the units of the step before."""
        self._is_last_step_skipped = False
        self.zero_grad(set_to_none=True)

    def take(self, gradients: Mapping[nn.Parameter, Tensor]) -> None:
        """Add the clipped gradients of some units: (U, …) for each parameter.

        A unit whose gradient is not a number counts for nothing.
        """
        good = torch.stack([_finite(found) for found in gradients.values()]).all(0)
        for parameter in self.params:
            found = gradients[parameter]
            parameter.grad_sample = found if good.all() else found[good]
        self.clip_and_accumulate()
        # Lightning calls `zero_grad` before `step`: what is summed stays, as between the parts of
        # a batch that Opacus takes in one by one.
        self._is_last_step_skipped = True
        for parameter in self.params:
            parameter.grad_sample = None

    def pre_step(self, closure: Callable[[], float] | None = None) -> Any:
        """Clip, sum, add noise and scale, with no more units than were taken."""
        for parameter in self.params:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        return super().pre_step(closure)

    def add_noise(self) -> None:
        """Put the noised sum of the step's clipped gradients in `grad`, added in float64."""
        draws, std = self.draws(self.ledger.steps), self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            summed = parameter.summed_grad
            if self.noise_multiplier:
                noise = torch.from_numpy(draws.normal(summed.numel())).view(summed.shape)
                noised = (summed.double() + std * noise.to(summed.device)).to(summed.dtype)
            else:
                noised = summed.clone()
            parameter.grad = noised.view_as(parameter)

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimizer within, and the ledger's."""
        return {**super().state_dict(), "ledger": self.ledger.state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state. Raises RunError as the ledger does."""
        self.ledger.load(state_dict["ledger"])
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "ledger"})


def _finite(gradients: Tensor) -> Tensor:
    """(U,) which of gradients (U, …) are numbers throughout."""
    return gradients.isfinite().reshape(len(gradients), -1).all(1)
