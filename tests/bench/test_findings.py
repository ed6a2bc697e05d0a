"""What is found is what was put into the rows: who is better, level, dominated, paid off."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import BETTER, Made, budget, write

from xrec.bench.files import Bench
from xrec.bench.findings import Findings
from xrec.bench.front import front
from xrec.bench.orders import tau
from xrec.errors import RunError

FLOORS = {
    "floor": Made(0.4, "floor", {"": (1.0, 0.1)}),
    "worse": Made(0.2, "floor", {"": (1.0, 0.1)}),
}


def found(folder: Path, explainers: dict[str, Made], **how) -> Findings:
    return Findings(Bench.open(write(folder, {**explainers, **FLOORS}, **how)))


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Findings:
    """By construction `twin` is slower than `best` and no better, and `poor` is like a floor."""
    explainers = {
        "best": Made(0.8, settings=budget(40, "n=1", "n=2", "n=4")),
        "twin": Made(0.78, settings={"": (1.0, 80.0)}),
        "good": Made(0.5, settings={"": (1.0, 2.0)}),
        "poor": Made(0.4, settings={"": (1.0, 1.0)}),
        "wrong": Made(0.95, settings={"": (1.0, 0.5)}, gates={"linear": "failed: it is off"}),
        "exact": Made(0.99, "ceiling", {"": (1.0, 900.0)}),
    }
    return found(tmp_path_factory.mktemp("bench"), explainers, users=60)


MEASURES = [name for name in BETTER if name != "infidelity@remove"]


# Files


def test_a_benchmark_that_is_not_finished_is_said_to_be(tmp_path) -> None:
    with pytest.raises(RunError, match=r"holds no finished benchmark: bench.json is not there"):
        Bench.open(tmp_path)
    (write(tmp_path, FLOORS, users=5) / "latency.parquet").unlink()
    with pytest.raises(RunError, match=r"latency.parquet is not there"):
        Bench.open(tmp_path)


def test_only_test_users_and_known_numbers_count(tmp_path) -> None:
    folder = write(tmp_path, FLOORS, users=5)
    rows = pl.read_parquet(folder / "rows.parquet")
    first = pl.int_range(pl.len()) == 0
    spoiled = pl.when(first).then(math.inf).otherwise(pl.col("sparsity"))
    rows.with_columns(spoiled.alias("sparsity")).write_parquet(folder / "rows.parquet")
    bench = Bench.open(folder)
    assert set(bench.test["split"]) == {"test"}
    assert bench.test["sparsity"].null_count() == 1
    assert bench.reported == tuple(MEASURES)  # not the one that settings were chosen by


def test_explainers_that_were_left_out_are_no_entrants(tmp_path) -> None:
    folder = write(tmp_path, FLOORS, users=5)
    told = json.loads((folder / "bench.json").read_text())
    lost = told["explainers"]["worse"] | {"said": "it needs a gradient", "chosen": None}
    told["explainers"]["lost"] = lost
    told["plant_taken_up"] = {"0": math.nan, "1": 0.5}
    (folder / "bench.json").write_text(json.dumps(told))
    bench = Bench.open(folder)
    assert set(bench.explainers) == {"floor", "worse"}
    assert bench.left_out == {"lost": "it needs a gradient"}
    assert bench.taken_up == {0: None, 1: 0.5}


# Scores


def test_scores_average_users_first(tmp_path) -> None:
    """A user with more draws counts no more than one with fewer."""
    folder = write(tmp_path, FLOORS, users=4, models=(0, 1), draws=(0, 1))
    rows = pl.read_parquet(folder / "rows.parquet")
    values = pl.when(pl.col("user") == "u0").then(1.0).otherwise(0.0).alias("sparsity")
    lost = (pl.col("user") != "u0") & (pl.col("draw") == 1)
    rows.with_columns(values).filter(~lost).write_parquet(folder / "rows.parquet")
    score = Findings(Bench.open(folder)).scores["floor"]["sparsity"]
    assert score.mean == pytest.approx(0.25)
    assert score.users == 4
    assert score.low <= 0.25 <= score.high


def test_the_spread_of_models_and_draws_is_that_of_their_means(told) -> None:
    rows = told.bench.test.filter(explainer="twin")
    for column in ("model", "draw"):
        means = rows.group_by(column).agg(pl.col("sparsity").mean())["sparsity"]
        score = told.scores["twin"]["sparsity"]
        spread = score.models if column == "model" else score.draws
        assert spread == pytest.approx((means.min(), means.max()))
    low, high = told.scores["twin"]["sparsity"].models
    assert high - low == pytest.approx(0.02, abs=0.005)  # what the generator adds by model


def test_one_model_and_one_draw_have_no_spread(tmp_path) -> None:
    score = found(tmp_path, {}, users=5, models=(3,), draws=(0,)).scores["floor"]["sparsity"]
    assert score.models is None
    assert score.draws is None


# Verdicts


@pytest.mark.parametrize("measure", MEASURES)
def test_who_is_better_is_found_whichever_way_is_better(told, measure) -> None:
    verdicts = told.verdicts[measure]
    assert {label: each.beats for label, each in verdicts.items()} == {
        "best": True,
        "twin": True,
        "good": True,
        "poor": False,
        "wrong": True,
        "exact": True,
        "floor": False,
        "worse": False,
    }
    assert verdicts["best"].floor == "floor"
    assert verdicts["best"].beating.gap == pytest.approx(0.4, abs=0.06)
    assert verdicts["good"].beating.p < 0.05
    for name in ("wrong", "exact"):  # better than all, and out of the competition
        assert verdicts[name].place == 0
        assert not verdicts[name].level
    assert {verdicts["best"].place, verdicts["twin"].place} == {1, 2}
    assert verdicts["best"].level
    assert verdicts["good"].place == 3


def test_those_that_are_alike_are_level_and_others_are_not(tmp_path) -> None:
    explainers = {
        "one": Made(0.8, noise=0.2),
        "two": Made(0.8, noise=0.2),
        "less": Made(0.5, noise=0.2),
    }
    verdicts = found(tmp_path, explainers, users=60).verdicts
    level = {name: [verdicts[m][name].level for m in MEASURES] for name in explainers}
    assert sum(level["one"]) + sum(level["two"]) >= 2 * len(MEASURES) - 2  # 5 % may be off
    assert not any(level["less"])


def test_equal_scores_are_level_and_not_better(tmp_path) -> None:
    folder = write(tmp_path, {"same": Made(0.5), **FLOORS}, users=12)
    rows = pl.read_parquet(folder / "rows.parquet")
    rows.with_columns(pl.lit(0.5).alias("sparsity")).write_parquet(folder / "rows.parquet")
    verdicts = Findings(Bench.open(folder)).verdicts["sparsity"]
    assert all(each.level for each in verdicts.values())
    assert not any(each.beats for each in verdicts.values())


def test_to_beat_every_floor_is_to_beat_each(tmp_path) -> None:
    """One floor is better on average, another for half of the users by far: both must be beaten."""
    folder = write(tmp_path, {"mine": Made(0.6), **FLOORS}, users=40, models=(0,), draws=(0,))
    rows = pl.read_parquet(folder / "rows.parquet")
    odd = pl.col("user").str.slice(1).cast(int) % 2 == 1
    wild = pl.when(odd).then(1.1).otherwise(0.0)
    value = (
        pl.when(pl.col("explainer") == "worse")
        .then(wild)
        .when(pl.col("explainer") == "floor")
        .then(0.56)
        .otherwise(0.6)
    )
    rows.with_columns(value.alias("sparsity")).write_parquet(folder / "rows.parquet")
    verdict = Findings(Bench.open(folder)).verdicts["sparsity"]["mine"]
    assert verdict.floor == "floor"
    assert verdict.beating.low > 0  # surely better than the best floor
    assert not verdict.beats  # but not than the other


def test_without_floors_nothing_is_beaten(tmp_path) -> None:
    folder = write(tmp_path, {"mine": Made(0.6), "other": Made(0.2)}, users=10)
    verdict = Findings(Bench.open(folder)).verdicts["sparsity"]["mine"]
    assert verdict.beating is None
    assert not verdict.beats
    assert verdict.floor == ""


def test_many_explainers_that_are_no_better_do_not_pass_by_chance(tmp_path) -> None:
    alike = {f"e{at}": Made(0.4, noise=0.2) for at in range(12)}
    verdicts = found(tmp_path, alike, users=30, models=(0,), draws=(0,)).verdicts
    wrong = [m for m, each in verdicts.items() if any(v.beats for v in each.values())]
    assert len(wrong) <= 2  # of eleven measures, each wrong with 5 % at most


# The front

points = st.dictionaries(
    st.integers(0, 30),
    st.tuples(st.integers(0, 6).map(float), st.integers(-3, 3).map(float)),
    max_size=12,
)


@given(points, st.sampled_from(["higher", "lower"]))
def test_the_front_is_what_no_other_dominates(points, better) -> None:
    sign = 1 if better == "higher" else -1

    def dominated(name: int) -> bool:
        time, score = points[name]
        return any(
            t <= time and sign * s >= sign * score and (t < time or sign * s > sign * score)
            for t, s in points.values()
        )

    kept = front(points, better)
    assert sorted(kept) == sorted(name for name in points if not dominated(name))
    assert [points[name][0] for name in kept] == sorted(points[name][0] for name in kept)


def test_what_is_not_known_is_on_no_front() -> None:
    assert front({"a": (math.nan, 1.0), "b": (1.0, math.nan), "c": (2.0, 0.0)}, "higher") == ["c"]
    assert front({}, "lower") == []


def test_the_front_has_every_setting_but_no_floor_ceiling_or_failed_gate(told) -> None:
    front = told.front("planted_precision")
    assert {label for label, _ in front} <= {"best", "twin", "good", "poor"}
    assert ("good", "") in front
    assert ("best", "n=4") in front
    assert ("twin", "") not in front


def test_steps_are_worth_their_time_and_beat_the_floors(told) -> None:
    labels = [step.unit for step in told.steps]
    assert labels[0] == ("good", "")  # poor is quicker, and like the floor
    assert labels[-1] == ("best", "n=4")  # twin is slower, and no better
    assert [step.seconds for step in told.steps] == sorted(step.seconds for step in told.steps)
    for before, after in zip(told.steps, told.steps[1:], strict=False):
        assert after.gain == pytest.approx(after.score - before.score, abs=1e-6)
        assert after.low > 0


def test_nothing_is_advised_where_nothing_beats_the_floors(tmp_path) -> None:
    assert found(tmp_path, {"poor": Made(0.3)}, users=20).steps == []


def test_the_leader_may_be_advised(told) -> None:
    assert told.leader.label == "best"  # not `wrong`, which scores better and fails a gate


def test_curves_are_of_all_settings_that_were_timed(tmp_path) -> None:
    made = {"one": Made(0.7, settings=budget(40, "n=1", "n=2", "n=4"))}
    curves = found(tmp_path, made, users=10, untimed=[("one", "n=2")])
    curve = curves.curve("one", "sparsity")
    assert [unit for unit, *_ in curve] == [("one", "n=1"), ("one", "n=4")]
    assert [round(1000 * time) for _, time, _ in curve] == [10, 40]
    assert curve[0][2] < curve[1][2]


# Break-even


@pytest.mark.parametrize(
    ("rival", "milliseconds", "expected"),
    [(0.7, 51, 200), (0.7, 0.5, None), (0.5, 51, "none is as faithful")],
)
def test_training_pays_off_after_as_many_explanations(
    tmp_path, rival, milliseconds, expected
) -> None:
    made = {
        "learned": Made(0.7, settings={"": (1.0, 1.0)}, fit=10.0, noise=0.01),
        "rival": Made(rival, settings={"": (1.0, milliseconds)}, noise=0.01),
        "slower": Made(rival, settings={"": (1.0, 500.0)}, noise=0.01),
    }
    folder = tmp_path / "bench"
    told = found(folder, made, users=20, models=(0,)).break_even["learned"]
    assert told.seconds == 10
    if isinstance(expected, str):
        assert (told.rival, told.explanations) == ("", None)
    elif expected is None:
        assert (told.rival, told.explanations) == ("rival", None)
    else:
        assert told.rival == "rival"
        assert told.explanations == pytest.approx(expected)


def test_who_learned_nothing_has_no_break_even(told) -> None:
    assert told.break_even == {}


# Strata


def test_thirds_hold_all_users_and_tell_who_is_served_worse(tmp_path) -> None:
    parts = found(tmp_path, {"e": Made(0.7)}, users=60, hard=0.3).strata["events"]
    assert [part.bounds for part in parts] == ["3–12", "13–22", "23–32"]
    assert sum(part.users for part in parts) == 60
    means = [part.averages.mean(("e", ""), "sparsity") for part in parts]
    assert means[1] - means[0] == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(("events", "bounds"), [([4], ["4"]), ([1, 9], ["1", "9"])])
def test_where_many_are_alike_the_parts_are_fewer(tmp_path, events, bounds) -> None:
    folder = write(tmp_path, FLOORS, users=12)
    rows = pl.read_parquet(folder / "rows.parquet")
    which = pl.col("user").str.slice(1).cast(int) % len(events)
    column = which.replace_strict(dict(enumerate(events)), return_dtype=pl.Int64)
    rows.with_columns(column.alias("events")).write_parquet(folder / "rows.parquet")
    parts = Findings(Bench.open(folder)).strata["events"]
    assert [part.bounds for part in parts] == bounds


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_bounds_part_all_values(values) -> None:
    from xrec.bench.strata import _bounds

    bounds = _bounds(pl.Series(values))
    assert len(bounds) <= 3
    assert all(sum(low <= value <= high for low, high in bounds) == 1 for value in values)


# Agreement


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=8))
def test_tau_counts_pairs_in_order(pairs) -> None:
    one, other = np.array(pairs, dtype=float).T
    signs = [
        (np.sign(one[i] - one[j]), np.sign(other[i] - other[j]))
        for i, j in combinations(range(len(one)), 2)
    ]
    known = math.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))
    if known == 0:
        assert math.isnan(tau(one, other))
    else:
        assert tau(one, other) == pytest.approx(sum(a * b for a, b in signs) / known)


def test_two_explainers_are_no_order() -> None:
    assert math.isnan(tau([1, 2], [1, 2]))
    assert math.isnan(tau([1, 2, math.nan], [1, 2, 3]))


def test_measures_that_turn_the_order_round_are_found(tmp_path) -> None:
    skills = (0.3, 0.4, 0.5, 0.6)
    made = {
        f"e{at}": Made(dict.fromkeys(BETTER, skill) | {"sparsity": 1 - skill}, noise=0.0)
        for at, skill in enumerate(skills)
    }
    told = Findings(Bench.open(write(tmp_path, made, users=10)))
    alike = told.measures_agree
    at = told.bench.reported.index("sparsity")
    assert np.allclose(np.delete(alike[at], at), -1)
    assert np.allclose(np.delete(np.delete(alike, at, 0), at, 1), 1)
    assert told.models_agree["sparsity"] == pytest.approx((1, 1))


def test_one_model_agrees_with_none(tmp_path) -> None:
    assert found(tmp_path, {"e": Made(0.5)}, users=5, models=(0,)).models_agree == {}


def test_the_telling_measures_lead_and_others_where_they_lack(tmp_path) -> None:
    better = {"sparsity": "higher", "deletion@remove": "lower", "randomisation": "lower"}
    telling = found(tmp_path / "a", {}, users=5, better=better).telling
    assert telling == ["deletion@remove"]
    better = {"sparsity": "higher", "randomisation": "lower"}
    assert found(tmp_path / "b", {}, users=5, better=better).telling == list(better)
