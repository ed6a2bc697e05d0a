"""Training whose weights tell little of any one user: differentially private gradient descent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from xrec import hookimpl, plugins
from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.errors import RecipeError, TrainingError, nearest
from xrec.models.recommender import Recommender

try:
    from xrec_plugins.privacy.ledger import Ledger
    from xrec_plugins.privacy.optimizer import Noised
except ModuleNotFoundError as error:
    raise plugins.lacking("mechanism 'dp_sgd'", error, extra="opacus") from error
from xrec_plugins.privacy import gradients
from xrec_plugins.privacy.cover import covered, not_covered, open_after
from xrec_plugins.privacy.draws import Draws
from xrec_plugins.privacy.gaussian import noise_for
from xrec_plugins.privacy.units import LEVELS, Drawn, Units, sizes

if TYPE_CHECKING:
    from xrec.recipe import Recipe
    from xrec.runs.run import Run

FILE = "privacy/dp_sgd.json"
AFTER = "privacy/dp_sgd.after.json"  # runs that share a training may differ in what comes after it
ACCOUNTANTS = ("prv", "rdp")
BATCH, STEP, NOISE, COUNTS = range(4)  # what is drawn for each step, and before the first


@dataclass
class DpSgd:
    """DP-SGD (Abadi et al., 2016) by Opacus: clipped gradients of units drawn by chance, and noise.

    Options:
    epsilon, delta: the budget, delta below 1 over the number of units.
    clip: the norm that the gradient of a unit is cut to. `train.clip` has no effect.
    level: "user", all that a user did in training is one unit; "example", a window of training is:
        users with several of them are less protected, the more they have.
    accountant: "prv" (Gopi et al., 2021) or "rdp" (Mironov, 2017), a little looser.
    noise: its deviation over the clipping norm; by default the least with which the budget lasts
        for `train.epochs`. Training stops before a step that would exceed the budget.
    counts: a share of epsilon, by which how often each item was had is released, within the budget;
        the model begins with it (`Recommender.begin_with`).
    windows: of a user that a step sees, drawn anew each time; 0: all. Fewer take less time.
    seed: for tests: makes the noise repeatable, which voids the guarantee.

    `train.batch` is how many units a step sees on average: each is in it with the same chance, by
    Poisson sampling. The noise, whom a step sees and what it draws at random come from the
    operating system's generator, whatever the recipe's seed.
    """

    epsilon: float
    delta: float = 1e-5
    clip: float = 1.0
    level: str = "user"
    accountant: str = "prv"
    noise: float | None = None
    counts: float | None = None
    windows: int = 8
    seed: int | None = None
    _at_work: _Training | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("epsilon", "clip", "noise"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value:g}, it must be above 0, and finite")
        if not 0 < self.delta < 1:
            raise ValueError(
                f"delta is {self.delta:g}, it must be above 0, and below 1 / the number of users"
            )
        if self.counts is not None and not 0 < self.counts < 1:
            raise ValueError(f"counts is {self.counts:g}, it must be above 0 and below 1")
        for name, known in (("level", LEVELS), ("accountant", ACCOUNTANTS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is '{getattr(self, name)}': {nearest(getattr(self, name), known)}"
                )
        if self.windows < 0:
            raise ValueError(f"windows is {self.windows}, it must be at least 0")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"seed is {self.seed}, it must be at least 0")

    @hookimpl
    def xrec_recipe(self, recipe: Recipe) -> None:
        """Refuse what would read the training data again, without noise."""
        if recipe.train.keep:
            raise RecipeError(
                "train.keep: weights are kept to trace recommendations back to training data, "
                "which dp_sgd is there to prevent: set it to 0"
            )
        if recipe.influence:
            raise RecipeError(
                "influence: it traces recommendations back to training data, which dp_sgd is there "
                "to prevent: leave it out"
            )
        for step in recipe.compress:
            if getattr(plugins.factory(step.kind, step.name), "learns", True):
                raise RecipeError(
                    f"{step.key}: '{step.name}' may learn from the training data again, without "
                    "noise, after dp_sgd: choose a compressor that learns from none, or leave it "
                    "out"
                )

    @hookimpl
    def xrec_optimizer(self, module: Recommender, optimizer: Optimizer, data: Data) -> Optimizer:
        """Plan the steps and their noise, and put the optimizer within one that adds it."""
        _check(module)
        units = Units(data, self.level, self.windows)
        count, wanted = len(units), data.train.batch
        if self.delta * count >= 1:
            raise RecipeError(
                f"privacy: delta is {self.delta:g}, it must be below 1 / the number of "
                f"{_units(self.level)}, {1 / count:.2g}: a greater one lets a mechanism give one "
                "of them away whole"
            )
        steps = math.ceil(count / wanted)  # an epoch, in which each unit is seen once on average
        ledger = Ledger(
            self.accountant,
            self.epsilon,
            self.delta,
            min(1.0, wanted / count),
            data.train.epochs * steps,
            self.noise,
            self._counts,
        )
        noised = Noised(
            optimizer, ledger, self.clip, min(wanted, count), lambda step: self._draws(step, NOISE)
        )
        self._at_work = _Training(units, steps, noised, gradients.maps(module))
        return noised

    @hookimpl
    def xrec_batches(self, module: Recommender, epoch: int) -> Iterable[Batch]:
        """Poisson-sampled units, as many batches as are left within the budget."""
        if module.trainer.world_size > 1:
            raise TrainingError(
                f"dp_sgd trains on one device, and there are {module.trainer.world_size} processes "
                "here: let the run see one of them, as by CUDA_VISIBLE_DEVICES"
            )
        work = self._work
        if self._counts is not None and not work.ledger.steps:  # else they are in the checkpoint
            module.begin_with(self._counted(work.units, self._counts).to(module.device))
        first = epoch * work.steps
        length = min(work.steps, work.ledger.allowed - first)
        draws = lambda step: self._draws(step, BATCH)  # noqa: E731
        return Drawn(work.units, work.ledger.rate, first, length, draws)

    @hookimpl
    def xrec_step(self, module: Recommender, batch: Batch) -> Tensor:
        """Clip and sum the gradients of the units that were drawn; the optimizer's step follows."""
        work = self._work
        before = _versions(module)
        work.optimizer.begin()
        losses = []
        with _drawing(self._draws(work.ledger.steps, STEP).seed(), module.device):
            for found, lost in gradients.each(module, batch, sizes(batch, self.level)):
                work.optimizer.take(found)
                losses.append(lost)
        _unchanged(before, module)
        if work.ledger.steps + 1 >= work.ledger.allowed:
            module.trainer.should_stop = True
        if not losses:
            return torch.zeros((), device=module.device, requires_grad=True)
        every = torch.cat(losses)
        mean = every.mean()
        module.log("train_loss", mean, on_step=False, on_epoch=True, batch_size=len(every))
        # Its gradients are taken already: what Lightning goes back from ends here.
        return mean.detach().requires_grad_()

    @hookimpl
    def xrec_trained(self, run: Run) -> None:
        """Write what was spent, on what, and what is not covered."""
        told = self._told(run)
        run.store.write_json(FILE, told)
        stopped = ", where the budget ended training" if told["stopped"] else ""
        run.tell(
            f"  dp_sgd: epsilon {told['spent']:.2f} of {self.epsilon:g} at delta {self.delta:g} "
            f"was spent, per {told['unit']}, in {told['steps']:,} steps{stopped}"
        )

    @hookimpl
    def xrec_explained(self, run: Run) -> None:
        """Write what is not covered of what was done with the trained model."""
        run.store.write_json(AFTER, {"not_covered": open_after(run)})

    def _told(self, run: Run) -> dict[str, Any]:
        """Plain values. A training in which nothing learns spends nothing."""
        work = self._at_work
        given = {
            "mechanism": "dp_sgd",
            "level": self.level,
            "unit": _units(self.level)[:-1],
            "epsilon": self.epsilon,
            "delta": self.delta,
            "clip": self.clip,
            "accountant": self.accountant,
            "windows": self.windows,
            "repeatable": self.seed is not None,
            "covered": covered(self.level),
            "not_covered": not_covered(run.recipe, self.level),
        }
        if work is None:
            return {**given, "spent": 0.0, "steps": 0, "stopped": False}
        ledger = work.ledger
        return {
            **given,
            "units": len(work.units),
            "spent": ledger.spent,
            "noise_multiplier": ledger.noise,
            "counts": self.counts
            and {"noise": self._counts, "epsilon_alone": self.counts * self.epsilon},
            "sample_rate": ledger.rate,
            "steps": ledger.steps,
            "planned": ledger.planned,
            "stopped": ledger.steps == ledger.allowed < ledger.planned,
            "gradients": "mapped" if work.maps else "one by one",
        }

    @property
    def _counts(self) -> float | None:
        """The noise of the counts, of which a unit's have length 1."""
        return self.counts and noise_for(self.counts * self.epsilon, self.delta)

    def _counted(self, units: Units, noise: float) -> Tensor:
        """(N + 1,) how often items were had, with noise, and at least as often as the noise."""
        true = units.counts()
        found = true + noise * torch.from_numpy(self._draws(0, COUNTS).normal(len(true)))
        return found.clamp(min=noise).float()

    @property
    def _work(self) -> _Training:
        assert self._at_work is not None, "the optimizer is configured before training"
        return self._at_work

    def _draws(self, step: int, what: int) -> Draws:
        return Draws.of(self.seed, step, what)


@dataclass(frozen=True)
class _Training:
    """A training at work: its units, the steps of an epoch, and whether units are mapped over."""

    units: Units
    steps: int
    optimizer: Noised
    maps: bool

    @property
    def ledger(self) -> Ledger:
        return self.optimizer.ledger


def _units(level: str) -> str:
    return "users" if level == "user" else "training windows"


def _check(module: nn.Module) -> None:
    """Raise RecipeError for a layer that would learn from units beside their clipped gradients."""
    for name, layer in module.named_modules():
        kind = type(layer).__name__
        if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.track_running_stats:
            raise RecipeError(
                f"privacy: dp_sgd cannot train the layer {name} ({kind}), which keeps means of the "
                "data without noise: use LayerNorm or GroupNorm in its place"
            )
        if getattr(layer, "sparse", False):
            raise RecipeError(
                f"privacy: dp_sgd cannot clip the sparse gradients of the layer {name} ({kind}): "
                "make it with sparse=False"
            )


def _versions(module: nn.Module) -> dict[str, int]:
    """How often each buffer was changed."""
    return {name: buffer._version for name, buffer in module.named_buffers()}


def _unchanged(before: dict[str, int], module: nn.Module) -> None:
    """Raise TrainingError if a pass through the model changed a buffer: it would have no noise."""
    for name, version in _versions(module).items():
        if before.get(name) != version:
            raise TrainingError(
                f"dp_sgd cannot train this model: in a training step it changes {name}, which "
                "would keep something of the data without noise; use a layer without such a buffer"
            )


@contextmanager
def _drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Within, torch draws by a seed of its own, and afterwards as if nothing had been drawn.

    So no user's dropout or negatives depend on who else is in the step by a seed that is known.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@hookimpl
def xrec_mechanisms() -> dict[str, type]:
    """Offer differentially private gradient descent."""
    return {"dp_sgd": DpSgd}
