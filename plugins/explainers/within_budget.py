"""Within a budget: the cheapest of a run's explainers that was measured to be faithful enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xrec import hookimpl
from xrec.errors import XrecError, nearest
from xrec.explain.explainer import Explainer, Measured
from xrec.explain.explanation import Explanation
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@dataclass
class WithinBudget:
    """Explains by the quickest of the run's other explainers that is faithful enough, in time.

    Options: latency_ms, the median time of an explanation, at most; fidelity, what it must reach by
    `measure`, one of those that the run's metrics take; where a measure is the better the lower, at
    most that much. What counts is the end of the 95 % interval, so that what is chosen meets it by
    more than luck. Both are as the run measured them, on its machine and its test users.

    Where none meets both, the most faithful in time explains, or the quickest where none is in
    time, and the sentence on the choice says so.
    """

    latency_ms: float
    fidelity: float
    measure: str = "shapley_rank"
    _chosen: tuple[str, Explainer] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.latency_ms <= 0:
            raise ValueError(f"latency_ms is {self.latency_ms}, it must be above 0")

    def choose(self, measured: Mapping[str, Measured]) -> str:
        """Choose; a sentence on which, and why. Raises XrecError: nothing to choose by."""
        judged = {
            label: each
            for label, each in measured.items()
            if (each.measures.get(self.measure) or {}).get("mean") is not None
        }
        if not judged:
            taken = sorted({name for each in measured.values() for name in each.measures})
            raise XrecError(
                f"explainer 'within_budget': no explainer of this run was judged by "
                f"'{self.measure}' ({nearest(self.measure, taken)}): list others under explain, "
                "and under fidelity the metric that takes it"
            )
        quickest = sorted(judged, key=lambda label: judged[label].seconds)
        in_time = [each for each in quickest if 1000 * judged[each].seconds <= self.latency_ms]
        good = [each for each in in_time if self._met(judged[each])]
        first = (good or sorted(in_time, key=lambda each: self._short(judged[each])) or quickest)[0]
        self._chosen = (first, judged[first].explainer)
        return self._said(first, judged, bool(good), bool(in_time))

    def _sign(self, each: Measured) -> int:
        return 1 if each.better[self.measure] == "higher" else -1

    def _met(self, each: Measured) -> bool:
        end = "low" if self._sign(each) > 0 else "high"
        return self._sign(each) * (each.measures[self.measure][end] - self.fidelity) >= 0

    def _short(self, each: Measured) -> float:
        return -self._sign(each) * each.measures[self.measure]["mean"]

    def _said(self, first: str, judged: Mapping[str, Measured], met: bool, in_time: bool) -> str:
        score, each = judged[first].measures[self.measure], judged[first]
        figures = (
            f"{self.measure} {score['mean']:.3f} ({score['low']:.3f} to {score['high']:.3f}) "
            f"in {1000 * each.seconds:.1f} ms"
        )
        asked = f"{self.measure} {self.fidelity:g} within {self.latency_ms:g} ms"
        if met:
            return (
                f"For {asked}: {first}, the quickest of {len(judged)} that reaches it, with "
                f"{figures}."
            )
        rest = "the most faithful in time" if in_time else "the quickest, as none is in time"
        return (
            f"None of {len(judged)} explainers reaches {asked}. It is {first}, {rest}: {figures}."
        )

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain by the one chosen. Raises XrecError before one was."""
        if self._chosen is None:
            raise XrecError(
                "explainer 'within_budget' chooses among the explainers of a run: run it from a "
                "recipe that lists others"
            )
        label, explainer = self._chosen
        told = explainer.explain(model, inputs, target)
        return replace(told, explainer=f"within_budget ({label})")


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer the choice within a budget."""
    return {"within_budget": WithinBudget}
