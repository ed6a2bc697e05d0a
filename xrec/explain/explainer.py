"""The contract of an explainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

from torch import Tensor

from xrec.data.module import Data
from xrec.explain.explanation import Explanation
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


class Explainer(Protocol):
    """An explainer plugin; its fields are its options in the recipe's `explain:`.

    A class that is not meant to be an explainer in earnest says what it is meant to be as
    `standing: ClassVar[str]`: "floor", a rule too simple to trust, which others must beat;
    "heuristic", without a claim to add up; or "ceiling", too dear to use but for comparison.

    What an explainer must pass before its scores mean anything are the gates, `xrec.testing.GATES`.
    One that cannot pass some of them by construction declares it, with the reason in a sentence:
    `excused: ClassVar[Mapping[str, str]] = {"completeness": "…"}`; reports show it. To be excused
    from a gate and pass it all the same is fine.

    The option that says how much it may ask of the model, if it has one, it names as
    `budget: ClassVar[str]`; benchmarks try it by several. 0 stands for what takes nothing.

    Explainers that must be trained first are `Trained`; those that choose among the others of a run
    are `Choosing`.
    """

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """What each feature of `inputs` contributed to `target`.

        The model is left as it was found: `xrec.probe` does that, and counts the cost.
        """


@runtime_checkable
class Trained(Protocol):
    """An explainer that learns from the data before it explains.

    In a run `fit` is called once; what `state` then gives is kept among the run's files, and
    `restore` is called with it wherever the run explains again. One that by its options has nothing
    to learn says so by a property `learns` that is False.
    """

    def fit(self, model: Recommender, data: Data) -> dict[str, Any]:
        """Learn; returns figures for people, such as seconds and evaluations taken."""

    def state(self) -> dict[str, Tensor]:
        """What was learned."""

    def restore(self, state: Mapping[str, Tensor], model: Recommender, data: Data) -> None:
        """Be as after the `fit` that gave this state."""


def learns(explainer: object) -> TypeGuard[Trained]:
    """Whether an explainer must learn before it explains."""
    return isinstance(explainer, Trained) and getattr(explainer, "learns", True)


@dataclass(frozen=True)
class Measured:
    """What a run found of an explainer: its fidelity and its cost.

    measures: the mean of each measure with its interval, as `bootstrap` gives them; better: which
    way each is better, "higher" or "lower". seconds: the median time of one explanation.
    """

    explainer: Explainer
    measures: Mapping[str, Mapping[str, float]]
    better: Mapping[str, str]
    seconds: float


@runtime_checkable
class Choosing(Protocol):
    """An explainer that explains by another of the run, once all of them were measured."""

    def choose(self, measured: Mapping[str, Measured]) -> str:
        """Choose from the run's other explainers, by label; a sentence on which, and why."""
