"""What a benchmark left in its folder, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any

import polars as pl

from xrec.errors import RunError

Unit = tuple[str, str]  # an explainer's label, and one of its settings
#: Not among those that a benchmark has choose from: what others must beat, and what none can.
BOUNDS = ("floor", "ceiling")
GRID = "tradeoff.parquet"


@dataclass(frozen=True)
class Entrant:
    """An explainer that was compared.

    standing: "", "floor", "heuristic" or "ceiling". says: what it is, in a sentence. gates: by name
    "passed", or "excused: …" or "failed: …" with the reason. settings: those tried, "" where it has
    no budget; chosen: the one by which it is judged.
    """

    label: str
    name: str
    standing: str
    says: str
    gates: Mapping[str, str]
    settings: tuple[str, ...]
    chosen: str

    @property
    def unit(self) -> Unit:
        """It, as it was set in the end."""
        return self.label, self.chosen

    @property
    def failed(self) -> tuple[str, ...]:
        """The gates that it fails, without excuse."""
        return tuple(gate for gate, what in self.gates.items() if what.startswith("failed"))

    @property
    def competes(self) -> bool:
        """Whether others are held against it: not a ceiling, nor one that fails a gate.

        A floor is there to be beaten, whatever it fails.
        """
        return self.standing != "ceiling" and (self.standing == "floor" or not self.failed)

    @property
    def eligible(self) -> bool:
        """Whether it may be advised: it fails no gate, and is neither a floor nor a ceiling."""
        return self.standing not in BOUNDS and not self.failed


@dataclass(frozen=True)
class Bench:
    """A benchmark as it was measured.

    rows: a row for each explained user of each cell (model, split, explainer, setting, draw), a
    column for each measure. latency: seconds and bytes by model, explainer and setting. tradeoff:
    the grid of variants of the model, if one was made. taken_up: by seed of the model, the share of
    recommendations in which it uses the planted causes; None where there are none. left_out: why
    some explainers were not compared.
    """

    recipe: str
    about: Mapping[str, Any]
    options: Mapping[str, Any]
    better: Mapping[str, str]
    meaning: Mapping[str, str]
    explainers: Mapping[str, Entrant]
    left_out: Mapping[str, str]
    taken_up: Mapping[int, float | None]
    quality: Mapping[int, Mapping[str, float]]
    asked: int
    evaluated: int
    minutes: float
    rows: pl.DataFrame
    latency: pl.DataFrame
    tradeoff: pl.DataFrame | None = None

    @classmethod
    def open(cls, folder: Path) -> Bench:
        """Read the folder of a finished benchmark. Raises RunError where a file is not there."""
        told = json.loads(_there(folder / "bench.json").read_text())
        entrants = told["explainers"].items()
        return cls(
            **{name: told[name] for name in ("recipe", "about", "options", "better", "meaning")},
            **{name: told[name] for name in ("asked", "evaluated", "minutes")},
            explainers={e: _entrant(e, each) for e, each in entrants if not each.get("said")},
            left_out={e: each["said"] for e, each in entrants if each.get("said")},
            taken_up={int(seed): _known(share) for seed, share in told["plant_taken_up"].items()},
            quality={int(seed): figures for seed, figures in told["quality"].items()},
            rows=pl.read_parquet(_there(folder / "rows.parquet")),
            latency=pl.read_parquet(_there(folder / "latency.parquet")),
            tradeoff=_grid(folder, told["about"]),
        )

    @cached_property
    def test(self) -> pl.DataFrame:
        """The rows of test users; what is no finite number is null."""
        rows = self.rows.filter(pl.col("split") == "test")
        taken = [pl.col(name) for name in self.better if name in rows.columns]
        return rows.with_columns(pl.when(each.is_finite()).then(each) for each in taken)

    @cached_property
    def judged(self) -> tuple[str, ...]:
        """The measures that judged at least one test user, in the order of the metrics."""
        return tuple(
            name
            for name in self.better
            if name in self.test.columns and self.test[name].count() > 0
        )

    @property
    def select(self) -> str:
        """The measure by which settings were chosen."""
        return str(self.options["select"])

    @property
    def reported(self) -> tuple[str, ...]:
        """The measures by which explainers are compared: all but that one."""
        return tuple(name for name in self.judged if name != self.select)

    @property
    def chosen(self) -> list[Unit]:
        """Every explainer as it was set in the end."""
        return [each.unit for each in self.explainers.values()]

    def sign(self, measure: str) -> int:
        """1 where more of a measure is better, -1 where less is."""
        return 1 if self.better[measure] == "higher" else -1


def _entrant(label: str, told: Mapping[str, Any]) -> Entrant:
    fields = {name: told[name] for name in ("name", "standing", "says", "gates")}
    return Entrant(
        label=label, settings=tuple(told["settings"]), chosen=told["chosen"] or "", **fields
    )


def _grid(folder: Path, about: Mapping[str, Any]) -> pl.DataFrame | None:
    """The grid in the folder, else one made beside it of the same model."""
    if (folder / GRID).exists():
        return pl.read_parquet(folder / GRID)
    for told in sorted(folder.parent.glob("tradeoff-*/tradeoff.json")):
        if json.loads(told.read_text())["about"]["model"] == about.get("model"):
            return pl.read_parquet(_there(told.parent / GRID))
    return None


def _known(share: float | None) -> float | None:
    return None if share is None or isnan(share) else share


def _there(path: Path) -> Path:
    if not path.exists():
        raise RunError(f"{path.parent} holds no finished benchmark: {path.name} is not there")
    return path
