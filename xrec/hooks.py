"""Every hook of xrec, on one page: the whole contract with plugins.

A plugin is a module named by an entry point of the group ``xrec.plugins``, called ``kind.name``
(``explainer.integrated_gradients``). It answers the registration hook of its kind with a mapping of
name → factory. A factory is a dataclass: its fields are the options a recipe may set, and its
methods do the work. An object made by a factory may implement lifecycle hooks as methods marked
with `hookimpl`; they are called only in runs whose recipe names the plugin, in recipe order.

A plugin author writes::

    from xrec import hookimpl

    @hookimpl
    def xrec_explainers():
        return {"mine": Mine}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from lightning import Trainer
    from torch import Tensor
    from torch.optim import Optimizer

    from xrec.data.batches import Batch
    from xrec.data.module import Data
    from xrec.data.tables import Tables
    from xrec.explain.explanation import Explanation
    from xrec.models.recommender import Recommender
    from xrec.recipe import Recipe
    from xrec.runs.run import Run

GROUP = "xrec"
Factories = Mapping[str, Callable[..., Any]]

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


# Registration: what a plugin offers. The contract of each factory's object is a Protocol in core.


@hookspec
def xrec_datasets() -> Factories:  # type: ignore[empty-body]
    """Datasets: `xrec.data.tables.Dataset`, which load the tables of a recommender's world."""


@hookspec
def xrec_encoders() -> Factories:  # type: ignore[empty-body]
    """Encoders: `xrec.models.encoder.Encoder`, which turn texts into vectors."""


@hookspec
def xrec_models() -> Factories:  # type: ignore[empty-body]
    """Models: `xrec.models.recommender.Architecture`, which build a `Recommender`."""


@hookspec
def xrec_explainers() -> Factories:  # type: ignore[empty-body]
    """Explainers: `xrec.explain.explainer.Explainer`, which say what each feature contributed."""


@hookspec
def xrec_compressors() -> Factories:  # type: ignore[empty-body]
    """Compressors: `xrec.compress.compressor.Compressor`, which make a trained model smaller."""


@hookspec
def xrec_mechanisms() -> Factories:  # type: ignore[empty-body]
    """Privacy mechanisms: lifecycle plugins named under `privacy:`."""


@hookspec
def xrec_metrics() -> Factories:  # type: ignore[empty-body]
    """Fidelity metrics: `xrec.fidelity.metric.Metric`, which score an explanation."""


@hookspec
def xrec_influences() -> Factories:  # type: ignore[empty-body]
    """Influence: `xrec.influence.influence.Influence`, which trace back to training data."""


@hookspec
def xrec_trackers() -> Factories:  # type: ignore[empty-body]
    """Trackers: `xrec.runs.tracker.Tracker`, which give Lightning a logger."""


@hookspec
def xrec_sections() -> Factories:  # type: ignore[empty-body]
    """Report sections: `xrec.report.section.Section`, made from the run's artefacts only."""


@hookspec
def xrec_hooks() -> Factories:  # type: ignore[empty-body]
    """Plugins that are lifecycle hooks and nothing else, named under `hooks:`."""


# Lifecycle: the moments of a run at which a plugin may step in. Where a hook may change its first
# argument, the next plugin sees what the one before returned; None leaves it as it is.


@hookspec
def xrec_recipe(recipe: Recipe) -> None:
    """Before anything is done. May raise RecipeError where the recipe asks for what cannot be."""


@hookspec
def xrec_tables(tables: Tables, recipe: Recipe) -> Tables | None:
    """After loading, before cleaning and splitting. May return new tables."""


@hookspec
def xrec_batch(batch: Batch, module: Recommender, stage: str) -> Batch | None:
    """Before the model sees a batch; stage is train, validate or test. May return a changed one."""


@hookspec(firstresult=True)
def xrec_batches(module: Recommender, data: Data, epoch: int) -> Iterable[Batch] | None:
    """In place of the training batches of an epoch, counted from 0; the first result is taken.

    It has a length, and a state (`state_dict`, `load_state_dict`) in which `served` is how many
    batches were given, so that a training that was killed can go on within the epoch. A batch may
    be empty.
    """


@hookspec(firstresult=True)
def xrec_step(module: Recommender, batch: Batch) -> Tensor | None:
    """In place of all that a training step does with its batch; the first result is its loss.

    Lightning goes back from it and calls the optimizer's step next, after `zero_grad`.
    `module.terms` has what the loss is the sum of where no plugin steps in.
    """


@hookspec
def xrec_loss(
    module: Recommender, batch: Batch, output: Mapping[str, Tensor]
) -> Mapping[str, Tensor] | None:
    """In a training step, after the model's own terms (`output`). May return named extra terms."""


@hookspec(firstresult=True)
def xrec_optimizer(module: Recommender, optimizer: Optimizer, data: Data) -> Optimizer | None:
    """In `configure_optimizers`; the first result replaces the optimizer."""


@hookspec(firstresult=True)
def xrec_fit(
    trainer: Trainer, module: Recommender, data: Data
) -> bool | list[dict[str, Any]] | None:
    """In place of `trainer.fit`; the first that returns True, or its epochs' figures, has trained.

    The figures of an epoch are its `epoch`, from 1, and whatever was measured after it by name.
    """


@hookspec
def xrec_fitted(module: Recommender, data: Data) -> Recommender | None:
    """After fitting, with the best weights loaded. May return a changed model."""


@hookspec
def xrec_trained(run: Run, module: Recommender) -> None:
    """At the end of the stage that trains. May write files of the run, and tell of them.

    A mechanism writes what it claims to `privacy/<its name>.json`: epsilon, or null where it claims
    none; delta; and level, whom they are of, such as "user". An audit is held against it.
    """


@hookspec
def xrec_explanation(explanation: Explanation, recipe: Recipe) -> Explanation | None:
    """Before an explanation leaves the run. May return a changed one."""


@hookspec
def xrec_explained(run: Run) -> None:
    """Once, after all explanations are written and before the report. May write artefacts."""


@hookspec
def xrec_finished(run: Run) -> None:
    """At the end of a run, all artefacts written."""
