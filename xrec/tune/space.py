"""What is searched: the recipe's `tune:`, and where each key's values are sought."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from xrec.errors import nearest

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "none")


@dataclass(frozen=True)
class Range:
    """Where the values of one recipe key are sought: among choices, or from low to high.

    Whole numbers are drawn where both ends are whole; log draws evenly on a logarithmic scale.
    """

    choices: list[Any] = field(default_factory=list)
    low: Any = None
    high: Any = None
    log: bool = False

    def __post_init__(self) -> None:
        if self.choices:
            self._check_choices()
            return
        for name, end in (("low", self.low), ("high", self.high)):
            if end is None:
                raise ValueError(f"{name} is missing: give choices, or low and high")
            if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
                raise ValueError(f"{name} is '{end}', it must be a number")
        if self.low >= self.high:
            raise ValueError(f"the range is empty: low is {self.low} and high is {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, and low is {self.low}")

    def _check_choices(self) -> None:
        if self.low is not None or self.high is not None or self.log:
            raise ValueError("give choices, or low, high and log, but not both")
        for choice in self.choices:
            if not isinstance(choice, str | int | float):
                raise ValueError(f"the choice '{choice}' must be a number, a text, true or false")
            if self.choices.count(choice) > 1:
                raise ValueError(f"the choice {choice} is listed more than once")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn between low and high."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> list[Any]:
        """Values to try whether the recipe takes them: the choices, or low and high."""
        return list(self.choices) or [self.low, self.high]


@dataclass(frozen=True)
class TuneOptions:
    """tune: how a recipe's best options are sought, by `xrec tune`; `xrec run` ignores it."""

    trials: int = 20
    metric: str = "val_ndcg@10"  # of the validation users; the test users stay unseen
    sampler: str = "tpe"
    pruner: str = "median"
    startup: int = 5  # trials that are drawn at random, and never pruned
    space: dict[str, Any] = field(default_factory=dict)  # a Range for each key that is searched

    def __post_init__(self) -> None:
        for name, value, known in (
            ("sampler", self.sampler, SAMPLERS),
            ("pruner", self.pruner, PRUNERS),
        ):
            if value not in known:
                raise ValueError(f"{name} is '{value}': {nearest(value, known)}")
        for name, count in (("trials", self.trials), ("startup", self.startup)):
            if count < 1:
                raise ValueError(f"{name} is {count}, it must be at least 1")
        if not self.metric.startswith("val_"):
            raise ValueError(
                f"metric is '{self.metric}', it must be one of the validation users, such as "
                "val_ndcg@10"
            )
