"""The proximal term of FedProx (Li et al., 2020)."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer


class Proximal(Callback):
    """Adds to the gradients those of mu / 2 · |w - w_t|², w_t being the weights at the beginning.

    So the loss need not have the term itself, and what a model or a plugin makes of its loss is
    left alone.
    """

    def __init__(self, mu: float) -> None:
        self.mu = mu

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the weights that the server sent."""
        self.sent = {
            name: parameter.detach().clone()
            for name, parameter in pl_module.named_parameters()
            if parameter.requires_grad
        }

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        """Pull each parameter back to where it was."""
        for name, parameter in pl_module.named_parameters():
            if parameter.requires_grad:
                pull = self.mu * (parameter.detach() - self.sent[name])
                parameter.grad = pull if parameter.grad is None else parameter.grad + pull
