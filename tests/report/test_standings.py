"""Who is best by a measure, and who cannot be told from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from xrec.fidelity.statistics import bootstrap
from xrec.report import summary
from xrec.report.standings import standings
from xrec.runs.store import Store

USERS = [f"u{at}" for at in range(40)]


def scored(
    store: Store, label: str, better: dict[str, str], p50: float = 0.01, **measures: np.ndarray
) -> None:
    """The artefacts of one explainer's fidelity, as the fidelity stage writes them."""
    store.write_table(f"fidelity/{label}.parquet", pl.DataFrame({"user": USERS, **measures}))
    summed = {name: bootstrap(values) for name, values in measures.items()}
    told = {"measures": summed, "better": better, "latency": {"p50": p50}, "plant_taken_up": None}
    store.write_json(f"fidelity/{label}.json", told)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(size=len(USERS))


@pytest.mark.parametrize(("way", "first"), [("higher", "up"), ("lower", "down")])
def test_the_way_that_is_better_decides(store: Store, noise, way: str, first: str) -> None:
    scored(store, "up", {"m": way}, m=noise + 1)
    scored(store, "down", {"m": way}, m=noise - 1)
    (standing,) = standings(store, ["up", "down"])
    assert (standing.measure, standing.better, standing.best) == ("m", way, (first,))


def test_the_difference_is_paired(store: Store, noise) -> None:
    """Users differ far more than explainers do: only pairing tells the explainers apart."""
    scored(store, "good", {"m": "higher"}, m=100 * noise + 0.1)
    scored(store, "bad", {"m": "higher"}, m=100 * noise)
    assert standings(store, ["bad", "good"])[0].best == ("good",)


def test_rows_are_paired_by_user_and_not_by_place(store: Store, noise) -> None:
    scored(store, "good", {"m": "higher"}, m=100 * noise + 0.1)
    scored(store, "bad", {"m": "higher"}, m=100 * noise)
    table = store.table("fidelity/bad.parquet")
    store.write_table("fidelity/bad.parquet", table.reverse())
    assert standings(store, ["bad", "good"])[0].best == ("good",)


def test_what_cannot_be_told_from_the_best_is_level(store: Store, noise) -> None:
    wobble = np.where(np.arange(len(USERS)) % 2, 1.0, -1.0)
    scored(store, "best", {"m": "higher"}, m=noise + 0.1)
    scored(store, "level", {"m": "higher"}, m=noise + wobble)
    scored(store, "worse", {"m": "higher"}, m=noise - 5)
    assert standings(store, ["worse", "level", "best"])[0].best == ("best", "level")


def test_a_difference_that_nobody_sees_goes_to_the_quicker(store: Store) -> None:
    scored(store, "slow", {"gap": "lower"}, p50=0.5, gap=np.full(len(USERS), 1e-8))
    scored(store, "quick", {"gap": "lower"}, p50=0.1, gap=np.full(len(USERS), 2e-7))
    assert standings(store, ["slow", "quick"])[0].best == ("quick", "slow")


def test_an_explainer_without_the_measure_is_passed_over(store: Store, noise) -> None:
    scored(store, "has", {"m": "higher"}, m=noise)
    scored(store, "lacks", {})
    scored(store, "blank", {"m": "higher"}, m=np.full(len(USERS), np.nan))
    assert standings(store, ["lacks", "blank", "has"])[0].best == ("has",)


def test_no_measure_and_no_explainer(store: Store) -> None:
    scored(store, "only", {})
    assert standings(store, ["only"]) == []
    assert standings(store, []) == []


# Figures in tables


def found(mean: float | None, half: float = 0.0) -> dict:
    low, high = (None, None) if mean is None else (mean - half, mean + half)
    return {"mean": mean, "low": low, "high": high, "users": 3}


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (found(0.7124, 0.04), "0.712 ± 0.040"),
        (found(-0.0817, 0.0585), "-0.082 ± 0.058"),
        (found(12.3456, 1.5), "12.35 ± 1.50"),
        (found(1234.56, 7.89), "1,234.6 ± 7.9"),
        (found(2.7e-7, 1e-7), "<0.001"),
        (found(2.7e-7, 0.5), "0.000 ± 0.500"),
        (found(-2e-5, 0.5), "0.000 ± 0.500"),
        (found(0.0, 0.0), "0.000"),
        ({"mean": 0.98}, "0.980"),
        (found(None), "–"),
        (None, "–"),
    ],
)
def test_intervals(figure: dict | None, shown: str) -> None:
    assert summary.interval(figure) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.00274, "2.7"), (0.0379, "38"), (1.0923, "1,092"), (0.0, "0.0")]
)
def test_milliseconds(seconds: float, shown: str) -> None:
    assert summary.milliseconds(seconds) == shown
