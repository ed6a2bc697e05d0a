"""How an explainer is timed, on a clock that the test turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from explain.toys import random_toy

from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.explain.target import Target, logit
from xrec.fidelity import protocol
from xrec.fidelity.protocol import WARM_UPS, latency
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.plugins import factory
from xrec.testing import small_model


@dataclass
class Slow:
    """An explainer whose n-th call takes the n-th of `takes` seconds, 1 s when they are used up."""

    takes: list[float] = field(default_factory=list)
    now: float = 0.0
    asked: list[Inputs] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        self.asked.append(inputs)
        self.targets.append(target)
        at = len(self.asked) - 1
        self.now += self.takes[at] if at < len(self.takes) else 1.0
        none = torch.zeros(len(inputs))
        cost = Cost(forward=7 * len(inputs), backward=3 * len(inputs))
        return Explanation.of(inputs, torch.zeros(inputs.present.shape), none, none, cost, "slow")


def timed(monkeypatch: pytest.MonkeyPatch, slow: Slow, rows: int = 3, **how: int):
    monkeypatch.setattr(protocol, "time", SimpleNamespace(perf_counter=lambda: slow.now))
    model, inputs = random_toy(rows=rows, slots=4, seed=0)
    return latency(slow, model, inputs, logit, **how), inputs


def test_first_call_and_warm_up_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    single = [4.0, 2.0, 8.0, 6.0, 3.0]
    slow = Slow([100.0, *[50.0] * WARM_UPS, *single, 20.0])
    found, _ = timed(monkeypatch, slow, repeats=5, batch=10)
    assert found["first"] == 100
    assert found["p50"] == pytest.approx(np.percentile(single, 50)) == 4
    assert found["p95"] == pytest.approx(np.percentile(single, 95))
    assert found["throughput"] == pytest.approx(10 / 20)
    assert (found["repeats"], found["batch"], found["warm_ups"]) == (5, 10, 2)


def test_evaluations_are_those_of_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = timed(monkeypatch, Slow(), repeats=2, batch=8)
    assert (found["forward"], found["backward"]) == (7, 3)
    assert found["threads"] == torch.get_num_threads()


def test_every_figure_is_there_and_is_a_plain_number(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = timed(monkeypatch, Slow(), repeats=2, batch=2)
    timing = {"first", "p50", "p95", "throughput"}
    assert set(found) == timing | {"batch", "repeats", "warm_ups", "forward", "backward", "threads"}
    assert all(type(value) in (int, float) for value in found.values())


def test_each_call_is_for_the_next_row_and_rows_are_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow()
    _, inputs = timed(monkeypatch, slow, rows=3, repeats=5, batch=7)
    assert len(slow.asked) == 1 + WARM_UPS + 5 + 1 + 1  # the last counts evaluations, untimed
    single, bulk = slow.asked[1 + WARM_UPS : -2], slow.asked[-2]
    assert [len(each) for each in slow.asked] == [1] * 8 + [7, 1]
    for at, each in enumerate(single):
        assert torch.equal(each.values[0], inputs.values[at % 3])
    assert torch.equal(bulk.values, inputs.values[torch.tensor([0, 1, 2, 0, 1, 2, 0])])
    assert set(slow.targets) == {logit}


def test_of_a_real_explainer() -> None:
    model, inputs = small_model(history=4, users=3)
    steps = 5
    explainer = factory("explainer", "integrated_gradients")(steps=steps)
    found = latency(explainer, model, inputs, logit, repeats=2, batch=4)
    assert (found["forward"], found["backward"]) == (steps + 2, steps)
    assert 0 < found["p50"] <= found["p95"]
    assert found["throughput"] > 0
