"""What every benchmark here does: say what it runs on, time sides in turn, keep the raw rows.

Sides are compared by running them in turn, A B B A A B …, so that a machine that is slower for a
while is slower for all. What counts is the ratio within a repeat; its median over the repeats is
quoted, with its spread.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from scipy import stats

from xrec.files import written

RESULTS = Path(__file__).parent / "results"
RESAMPLES = 2000
UNITS = ("wall_s", "cpu_s")


def arguments(about: str, datasets: Sequence[str] = ()) -> argparse.Namespace:
    """What the command line says: full (bool), threads (int) and out, the folder of the rows.

    Where there are datasets to choose from, dataset (str) is the one chosen, else the first.

    Torch and the tokenizers are held to that many threads.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--full", action="store_true", help="larger and more often; takes minutes")
    parser.add_argument("--threads", type=int, default=1, help="threads of every side")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the raw rows")
    if datasets:
        parser.add_argument("--dataset", choices=datasets, default=datasets[0])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    os.environ["RAYON_NUM_THREADS"] = str(given.threads)  # tokenizers read it at their first use
    return given


def header(packages: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Print the machine, the versions of packages and the settings of the benchmark."""
    print(f"machine: {_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    print(f"system: {platform.system()} {platform.release()}, Python {platform.python_version()}")
    print("versions: " + ", ".join(f"{name} {_version(name)}" for name in packages))
    for name, value in settings.items():
        print(f"{name}: {value}", flush=True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds that a call takes, by the wall and of the processor."""
    wall, cpu = perf_counter(), process_time()
    call()
    return perf_counter() - wall, process_time() - cpu


def row(repeat: int, times: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """A raw row: the seconds that each side took, by the wall and of the processor."""
    return {"repeat": repeat} | {
        f"{side}_{unit}": round(seconds, 6)
        for side, both in times.items()
        for unit, seconds in zip(UNITS, both, strict=True)
    }


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of values, and the 95 % bootstrap interval of the median."""

    median: float
    quartiles: tuple[float, float]
    interval: tuple[float, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of two values or more."""
        first, median, third = np.quantile(values, [0.25, 0.5, 0.75])
        found = stats.bootstrap(
            (np.asarray(values),), np.median, n_resamples=RESAMPLES, method="percentile", rng=0
        ).confidence_interval
        return cls(float(median), (first, third), (float(found.low), float(found.high)))

    def __str__(self) -> str:
        (first, third), (low, high) = self.quartiles, self.interval
        return (
            f"{self.median:.4g} (quartiles {first:.4g} to {third:.4g}, "
            f"95 % interval of the median {low:.4g} to {high:.4g})"
        )


def tell_times(rows: Sequence[Mapping[str, float]], sides: Iterable[str]) -> None:
    """Print what each side took by the wall; rows are as `row` makes them."""
    for side in sides:
        print(f"{side}: {Spread.of([each[f'{side}_wall_s'] for each in rows])} s")


def tell_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, its columns as wide as they must be."""
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(f"\n{title}")
    for cells in table:
        print("  ".join(map(str.ljust, cells, widths)).rstrip(), flush=True)


def compare(rows: Sequence[Mapping[str, float]], ours: str, theirs: str) -> float:
    """Print the ratio of the times of two sides; returns the median over rows, by the wall.

    The ratio of processor time is told too: it leaves out what other processes took.
    """
    ratios = {}
    for unit in UNITS:
        pairs = [(each[f"{ours}_{unit}"], each[f"{theirs}_{unit}"]) for each in rows]
        ratios[unit] = Spread.of([our / their for our, their in pairs])
        print(f"{ours} / {theirs}, {unit}: {ratios[unit]}")
    return ratios["wall_s"].median


def keep(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write raw rows as CSV, whole or not at all; they may differ in their columns."""
    columns = dict.fromkeys(name for row in rows for name in row)
    with written(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns), restval="")
        writer.writeheader()
        writer.writerows(rows)


def finish(path: Path, rows: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> None:
    """Write the raw rows, and end the output with a line of JSON."""
    keep(path, rows)
    print(f"raw rows: {path}")
    print(json.dumps(figures))
