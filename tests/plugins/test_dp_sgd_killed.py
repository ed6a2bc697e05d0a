"""Private training that is killed goes on with its account, and never beyond its budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant

pytestmark = pytest.mark.slow

#: Tells of each step how many the account has and what the weights are before it, and kills itself.
TELLING = """
import json, os, signal
from xrec.cli import main
from xrec_plugins.privacy.optimizer import Noised

whole, taken = Noised.step, []

def step(self, *given, **named):
    weights = [float(each.detach().double().abs().sum()) for each in self.params]
    with open(os.environ["TOLD"], "a") as file:
        file.write(json.dumps([self.ledger.steps, weights]) + "\\n")
    taken.append(weights)
    if len(taken) == {kill}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, *given, **named)

Noised.step = step
main()
"""

Steps = list[tuple[int, list[float]]]


def carried_out(recipe: Path, kill: int) -> tuple[int, str, Steps]:
    """What the run returned and said, and of each step what it told; kill: the step, 0 for none."""
    told = recipe.parent / f"steps-{len(list(recipe.parent.glob('steps-*')))}"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOLD": str(told)}
    runs = str(recipe.parent / "runs")
    command = [sys.executable, "-c", TELLING.format(kill=kill), "run", str(recipe), "--runs", runs]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    steps = [json.loads(line) for line in told.read_text().splitlines()]
    return done.returncode, done.stdout + done.stderr, [(count, each) for count, each in steps]


def private(folder: Path, **options: Any) -> Path:
    """A recipe of eight steps, of which every second is kept; noise is nobody's to foresee."""
    given = {"name": "dp_sgd", "delta": 1e-3, "accountant": "rdp", **options}
    path = folder / "tiny.yaml"
    path.write_text(TINY.split("explain:")[0] + f"privacy: {json.dumps([given])}\n")
    return path


def spent(noise: float, rate: float, steps: int) -> float:
    accountant = RdpAccountant()
    event = PoissonSampledDpEvent(rate, GaussianDpEvent(noise))
    accountant.compose(SelfComposedDpEvent(event, steps))
    return float(accountant.get_epsilon(1e-3))


@pytest.mark.parametrize(
    ("options", "kills", "steps"),
    [({"epsilon": 8.0}, (4, 3), 8), ({"epsilon": 3.2, "noise": 1.1}, (4,), 5)],
    ids=["planned", "stopped"],
)
def test_killed_it_goes_on_with_its_account(
    tmp_path: Path, options: dict[str, Any], kills: tuple[int, ...], steps: int
) -> None:
    recipe = private(tmp_path, **options)
    before: dict[int, list[float]] = {}  # of the account's steps, the weights that came of them
    for kill in kills:
        code, said, told = carried_out(recipe, kill)
        assert code == -9, said
        goes_on(before, told)
    code, said, told = carried_out(recipe, 0)
    assert code == 0, said
    assert "going on from" in said
    assert told[0][0] > 0
    goes_on(before, told)
    assert told[-1][0] == steps - 1
    (file,) = tmp_path.glob("runs/tiny/*/privacy/dp_sgd.json")
    found = json.loads(file.read_text())
    assert found["steps"] == steps
    assert found["stopped"] == (steps < found["planned"] == 8)
    assert found["spent"] <= options["epsilon"]
    expected = spent(found["noise_multiplier"], found["sample_rate"], steps)
    assert found["spent"] == pytest.approx(expected, rel=0.02)


def goes_on(before: dict[int, list[float]], told: Steps) -> None:
    """The account counts each step, and begins where the weights were by as many."""
    counts = [count for count, _ in told]
    assert counts == list(range(counts[0], counts[0] + len(counts)))
    first, weights = told[0]
    if first:
        assert weights == pytest.approx(before[first], rel=1e-9)
    before |= dict(told)
