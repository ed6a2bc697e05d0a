"""What of a privacy budget is spent, and how many steps it lasts, by Opacus' accountants."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from opacus.accountants import create_accountant
from opacus.optimizers import DPOptimizer

from xrec.errors import RecipeError, RunError, TrainingError

MOST = 1e6  # noise, beyond which none is looked for


class Ledger:
    """The account of steps that each draw units by chance and add Gaussian noise.

    A unit is in a step with the chance `rate`, by Poisson sampling; `noise` is the deviation of
    the noise over the clipping norm. The guarantee is (epsilon, delta) for one unit more or less.

    noise: as given, or the least by which `planned` steps are within the budget.
    counts: the noise, over the most that a unit adds, of what is released of all units before the
        first step, if anything is.
    allowed: the steps that are, at most `planned`.

    Raises RecipeError where the budget does not last for a step, or no noise is enough.
    """

    def __init__(
        self,
        kind: str,
        epsilon: float,
        delta: float,
        rate: float,
        planned: int,
        noise: float | None = None,
        counts: float | None = None,
    ) -> None:
        self.kind, self.epsilon, self.delta = kind, epsilon, delta
        self.rate, self.planned = rate, planned
        self.counts = [] if counts is None else [(counts, 1.0, 1)]
        self.accountant = create_accountant(kind)
        self.noise = self._least() if noise is None else noise
        self.allowed = planned if noise is None else self._lasts()

    @property
    def steps(self) -> int:
        """The steps taken."""
        return sum(count for _, _, count in self.accountant.history)

    @property
    def spent(self) -> float:
        """Epsilon of the steps taken, and of the counts."""
        return self.after(self.steps)

    def after(self, steps: int) -> float:
        """Epsilon after so many steps, and the counts."""
        return self._epsilon(self.noise, steps)

    def _epsilon(self, noise: float, steps: int, **exact: float) -> float:
        accountant = create_accountant(self.kind)
        accountant.history = [*self.counts, (noise, self.rate, steps)][
            : len(self.counts) + (steps > 0)
        ]
        if not accountant.history:
            return 0.0
        return float(_quiet(lambda: accountant.get_epsilon(self.delta, **exact)))

    def step(self, optimizer: DPOptimizer) -> None:
        """Note a step that the optimizer is about to take.

        Raises TrainingError: it would exceed the budget.
        """
        if self.steps >= self.allowed:
            raise TrainingError(
                f"another step would exceed the privacy budget, which {self.allowed:,} steps have "
                "spent: raise privacy's epsilon, or its noise"
            )
        self.accountant.step(noise_multiplier=optimizer.noise_multiplier, sample_rate=self.rate)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {**self.accountant.state_dict(), "counts": self.counts}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint. Raises RunError: its steps were others than this run's."""
        counts = [tuple(release) for release in state["counts"]]
        if counts != self.counts or any(
            step[:2] != (self.noise, self.rate) for step in state["history"]
        ):
            raise RunError(
                "the checkpoint's steps were taken with other noise or another sampling rate than "
                "privacy has now: remove the run's folder, and start again"
            )
        self.accountant.load_state_dict({k: v for k, v in state.items() if k != "counts"})

    def _least(self) -> float:
        """The noise by which all planned steps are within the budget."""
        near = min(0.01, self.epsilon / 100)
        exact = {"eps_error": near} if self.kind == "prv" else {}
        low, high = 0.0, 10.0
        while (spent := self._epsilon(high, self.planned, **exact)) > self.epsilon:
            low, high = high, 2 * high
            if high > MOST:
                raise RecipeError(
                    f"privacy: no noise is enough for {self.planned:,} steps within epsilon "
                    f"{self.epsilon:g} at delta {self.delta:g}, by the accountant '{self.kind}': "
                    "raise epsilon, or lower train.epochs" + " or counts" * len(self.counts)
                )
        while self.epsilon - spent > near:
            middle = (low + high) / 2
            found = self._epsilon(middle, self.planned, **exact)
            if found > self.epsilon:
                low = middle
            else:
                high, spent = middle, found
        return high

    def _lasts(self) -> int:
        """The most steps, of those planned, that are within the budget."""
        fits, exceeds = 0, self.planned + 1
        while exceeds - fits > 1:
            middle = (fits + exceeds) // 2
            if self.after(middle) <= self.epsilon:
                fits = middle
            else:
                exceeds = middle
        if not fits:
            raise RecipeError(
                f"privacy: with noise {self.noise:g} a single step costs epsilon "
                f"{self.after(1):.3g}, more than the budget of {self.epsilon:g}: raise noise"
            )
        return fits


def _quiet(compute: Callable[[], Any]) -> Any:
    """What is computed, without warnings of how: a rate of 1 is a logarithm of 0 on the way."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return compute()
