"""What a benchmark's figures were made with: machine, versions, commit, data."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

from xrec.runs.run import Run
from xrec.runs.stages import versions
from xrec.runs.store import key_of

#: Recipe keys that a model follows, as it is before it is made smaller or more private.
MODEL = ("data", "encoder", "pretrain", "model", "tasks", "train", "adapt", "hooks")
CPU = Path("/proc/cpuinfo")


def about(run: Run) -> dict[str, str]:
    """Plain words by what they are of; the data's digest is that of what the run was trained on.

    model: a digest of what the recipe says of it.
    """
    data = sorted((run.store.record("data") or {"writes": {}})["writes"].values())
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "system": f"{platform.system()} {platform.release()}",
        "versions": ", ".join(f"{name} {each}" for name, each in versions().items()),
        "commit": _commit(),
        "data": f"{run.recipe.dataset.name}, digest {key_of(data)[:16]}",
        "model": key_of({key: run.recipe.resolved.get(key) for key in MODEL})[:16],
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _processor() -> str:
    lines = CPU.read_text().splitlines() if CPU.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the checkout that xrec is run from, and whether it was changed since."""
    git = shutil.which("git")
    here = Path(__file__).resolve().parents[2]
    if git is None or not (here / ".git").exists():
        return "an installed package"

    def said(*words: str) -> str:
        return subprocess.run(  # noqa: S603 its words are ours
            [git, "-C", str(here), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = " and changes" if said("status", "--porcelain", "--untracked-files=no") else ""
    return (said("rev-parse", "--short=12", "HEAD") or "unknown") + changed
