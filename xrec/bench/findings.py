"""All that a benchmark found, worked out once for everything that tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xrec.bench import advice, orders
from xrec.bench.averages import Averages, averaged
from xrec.bench.break_even import BreakEven, break_even
from xrec.bench.costs import Cost, costs
from xrec.bench.files import Bench, Entrant, Unit
from xrec.bench.scores import Score, scores
from xrec.bench.strata import Stratum, strata
from xrec.bench.verdicts import Verdict, verdicts

#: The measures that lead a report, if they were taken under any operator, most telling first.
TELLING = ("planted_precision", "deletion", "insertion")


@dataclass(frozen=True)
class Findings:
    """What follows from a benchmark's rows; everything is of test users."""

    bench: Bench

    @cached_property
    def averages(self) -> Averages:
        """One figure for each test user, by unit and measure."""
        return averaged(self.bench.test, self.bench.judged)

    @cached_property
    def scores(self) -> dict[str, dict[str, Score]]:
        """By label and measure."""
        return scores(self.bench, self.averages)

    @cached_property
    def verdicts(self) -> dict[str, dict[str, Verdict]]:
        """By measure and label, by the measures that explainers are compared by."""
        return {name: verdicts(self.bench, self.averages, name) for name in self.bench.reported}

    @cached_property
    def costs(self) -> dict[Unit, Cost]:
        """By unit, of those that were timed."""
        return costs(self.bench)

    @cached_property
    def telling(self) -> list[str]:
        """The measures to lead with, the most telling first; empty where nothing was judged."""
        reported = self.bench.reported
        wanted = [next((m for m in reported if m.split("@")[0] == name), "") for name in TELLING]
        return [name for name in wanted if name] or list(reported[:2])

    def curve(self, label: str, measure: str) -> list[tuple[Unit, float, float]]:
        """Seconds and score of each setting of an explainer that has both, quickest first."""
        units = [(label, setting) for setting in self.bench.explainers[label].settings]
        found = [
            (unit, self.costs[unit]["p50"], self.averages.mean(unit, measure))
            for unit in units
            if unit in self.costs
        ]
        return sorted((each for each in found if not np.isnan(each[2])), key=lambda each: each[1])

    def front(self, measure: str) -> list[Unit]:
        """What nothing quicker is better than, of those who may be advised, quickest first."""
        able = [label for label, each in self.bench.explainers.items() if each.eligible]
        return advice.on_front(self.bench, self.averages, self.costs, measure, able)

    @cached_property
    def steps(self) -> list[advice.Step]:
        """Which to use in the time there is, by the most telling measure.

        Of those who may be advised and beat every floor, if there is any.
        """
        if not self.telling:
            return []
        measure = self.telling[0]
        sound = [
            label
            for label, verdict in self.verdicts[measure].items()
            if self.bench.explainers[label].eligible and (verdict.beats or not verdict.floor)
        ]
        return advice.steps(self.bench, self.averages, self.costs, measure, sound)

    @cached_property
    def break_even(self) -> dict[str, BreakEven]:
        """By label, of those who learn, by the most telling measure."""
        if not self.telling:
            return {}
        return break_even(self.bench, self.averages, self.costs, self.telling[0])

    @cached_property
    def strata(self) -> dict[str, Sequence[Stratum]]:
        """By "events" and "popularity"."""
        return {by: strata(self.bench, by) for by in ("events", "popularity")}

    @cached_property
    def measures_agree(self) -> np.ndarray:
        """(reported, reported) τ between the orders that measures give."""
        return orders.of_measures(self.bench, self.averages, self.bench.reported)

    @cached_property
    def models_agree(self) -> dict[str, tuple[float, float]]:
        """By measure, the mean and the least τ between the orders that two models give."""
        return orders.of_models(self.bench)

    def level(self, label: str) -> list[str]:
        """The measures by which it is the best, or is not told from the best."""
        return [m for m, found in self.verdicts.items() if label in found and found[label].level]

    def beaten(self, label: str) -> list[str]:
        """The measures by which it beats every floor."""
        return [m for m, found in self.verdicts.items() if label in found and found[label].beats]

    def judging(self, label: str) -> list[str]:
        """The measures that judge it, of those that explainers are compared by."""
        return [m for m, found in self.verdicts.items() if label in found]

    @cached_property
    def leader(self) -> Entrant | None:
        """Of those who may be advised, who is level with the best most often; then the quickest."""
        able = [e for e in self.bench.explainers.values() if e.eligible and self.level(e.label)]
        return min(able, key=lambda e: (-len(self.level(e.label)), self.time(e)), default=None)

    def time(self, entrant: Entrant) -> float:
        """Median seconds of an explanation by the chosen setting; infinite where not timed."""
        return self.costs.get(entrant.unit, {}).get("p50", float("inf"))
