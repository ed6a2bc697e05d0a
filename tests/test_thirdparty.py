"""A package that xrec has never heard of is found, checked, and used, with xrec unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "thirdparty"
RECIPE = """
name: guest
data: {dataset: planted, users: 40, items: 100, events: 8, history: 8}
encoder: {name: hashed, size: 16}
model: {name: sequential, width: 16, layers: 1}
train: {epochs: 1, batch: 16, negatives: 8}
hooks: [{name: shrink, weight: 0.01}]
explain: [{name: loudness, power: 2}]
influence: [{name: namesake, top: 1}]
fidelity: [completeness]
protocol: {users: 4, repeats: 1, batch: 1}
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the third party's package; all else is this environment's."""
    folder = tmp_path_factory.mktemp("guest")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout
    ours = sysconfig.get_paths()["purelib"]
    (Path(site.strip()) / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    source = folder / "source"
    subprocess.run(["cp", "-r", PACKAGE, source], check=True)  # a build leaves files behind
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, str(source)], check=True)
    return folder


def xrec(guest: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [guest / "venv" / "bin" / "python", "-c", "from xrec.cli import main; main()"]
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [*call, *arguments], cwd=guest, env=env, capture_output=True, text=True, check=False
    )


def test_is_not_installed_here() -> None:
    from xrec.plugins import listings

    assert "loudness" not in {each.name for each in listings("explainer")}
    assert "xrec_loudness" not in sys.modules


def test_is_listed_with_its_package_and_version(guest: Path) -> None:
    told = xrec(guest, "plugins").stdout
    line = next(line for line in told.splitlines() if "loudness" in line)
    assert line.split() == ["explainer", "loudness", "xrec-loudness", "1.2.3"]
    assert any(line.split()[:2] == ["hook", "shrink"] for line in told.splitlines())


def test_runs_from_a_recipe(guest: Path) -> None:
    (guest / "guest.yaml").write_text(RECIPE)
    done = xrec(guest, "run", "guest.yaml")
    assert done.returncode == 0, done.stderr
    assert "loudness" in done.stdout
    (run,) = (guest / "runs" / "guest").iterdir()
    assert (run / "shrink.txt").read_text() == "shrunk with weight 0.01"
    epoch = json.loads((run / "training.json").read_text())["epochs"][0]
    assert epoch["train_loss"] == pytest.approx(
        epoch["train_click"] + epoch["train_shrink"], rel=1e-4
    )
    report = (run / "report.html").read_text()
    assert "loudness" in report
    assert "By namesake: all " in report


def test_its_options_are_checked_like_anyones(guest: Path) -> None:
    (guest / "wrong.yaml").write_text(RECIPE.replace("power", "pwer"))
    done = xrec(guest, "check", "wrong.yaml")
    assert done.returncode == 2
    assert done.stderr == "xrec: explain[0].pwer: there is no such key; did you mean 'power'?\n"
    assert not (guest / "runs" / "wrong").exists()


def test_passes_the_conformance_kit(guest: Path) -> None:
    check = (
        "import torch\n"
        "from xrec.testing import check_explainer, check_influence, small_model\n"
        "from xrec_loudness.explainer import Loudness\n"
        "from xrec_loudness.namesake import Namesake\n"
        "model, inputs = small_model()\n"
        "check_explainer(Loudness(), model, inputs)\n"
        "queries = model.data_module.queries('test', torch.arange(1, 4))\n"
        "check_influence(Namesake(), model, queries)"
    )
    call = [guest / "venv" / "bin" / "python", "-c", check]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
