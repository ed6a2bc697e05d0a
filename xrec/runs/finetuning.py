"""Training a model a little more after something was changed in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from xrec import plugins
from xrec.data.module import Data
from xrec.models.recommender import Recommender
from xrec.runs import precision
from xrec.runs.finite import Finite
from xrec.runs.training import BestWeights, fit_or_stop, new_trainer


def finetune(
    model: Recommender,
    data: Data,
    epochs: int,
    lr: float,
    tell: Callable[[str], None],
    hooks: Sequence[object] = (),
) -> list[dict[str, Any]]:
    """Train what of `model` requires a gradient, in place, as `train:` says but for epochs and lr.

    Rates of parts keep their ratio to lr. What learns nothing has no dropout meanwhile. It is left
    with the best weights by `train.monitor`, those that it begins with among them, in evaluation
    mode. hooks: objects with lifecycle hooks, such as an `xrec_loss`, that are called meanwhile in
    place of the run's. Returns each epoch's figures, the first of the beginning.

    Raises TrainingError as training does.
    """
    options, hook = model.options, model.hook
    rates = {name: rate * lr / options.lr for name, rate in options.rates.items()}
    model.options = replace(options, lr=lr, rates=rates, epochs=epochs)
    model.use(plugins.new_manager(hooks))
    best = BestWeights(options.monitor, tell)
    try:
        with TemporaryDirectory() as folder:
            trainer = new_trainer(
                [],
                Path(folder),
                max_epochs=epochs,
                gradient_clip_val=options.clip,
                reload_dataloaders_every_n_epochs=1,
                num_sanity_val_steps=0,
                callbacks=[best, Finite(best, Path(folder))],
                plugins=[precision.plugin(options.precision)],
            )
            trainer.validate(model, datamodule=data, verbose=False)
            _to_learn(model)  # Lightning keeps the mode that a module is in
            fit_or_stop(trainer, model, datamodule=data)
        model.load_state_dict(best.weights)
    finally:
        model.options, model.hook = options, hook
        model.eval()
    return best.history


def _to_learn(model: nn.Module) -> None:
    """Put what has weights that learn, and what has none, into training mode, the rest not."""
    model.train()
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(each.requires_grad for each in weights):
            module.eval()
