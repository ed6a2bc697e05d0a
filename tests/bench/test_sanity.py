"""Whether measures see faults: on scores made up so that the verdict is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from xrec.bench.sanity import caught, verdicts
from xrec.fidelity.statistics import holm, paired

USERS = 60
BETTER = {"rank": "higher", "gap": "lower"}


def scores(rank: float, gap: float, seed: int = 0) -> pl.DataFrame:
    """A row a user, with means about those; users differ by more than explainers do."""
    user = np.random.default_rng(99).normal(size=(2, USERS))
    own = 0.1 * np.random.default_rng(seed).normal(size=(2, USERS))
    return pl.DataFrame({"rank": rank + user[0] + own[0], "gap": gap + user[1] + own[1]})


def row(table: pl.DataFrame, fault: str, measure: str) -> dict[str, object]:
    return table.row(
        by_predicate=(pl.col("fault") == fault) & (pl.col("measure") == measure), named=True
    )


def test_what_is_worse_is_caught_whichever_way_is_better() -> None:
    faulty = {"low": scores(0.5, 0, 1), "wide": scores(1, 0.5, 2)}
    claims = {"rank": ("low",), "gap": ("wide",)}
    table = caught(scores(1, 0), faulty, BETTER, claims)
    assert table.columns == [
        *("fault", "measure", "sound", "faulty", "gap", "p", "caught", "claimed")
    ]
    assert table.height == 4
    low, wide = row(table, "low", "rank"), row(table, "wide", "gap")
    for each in (low, wide):
        assert each["caught"]
        assert each["claimed"]
        assert each["gap"] == pytest.approx(0.5, abs=0.05)
        assert each["p"] < 0.05
    assert low["sound"] - low["faulty"] == pytest.approx(low["gap"])
    assert wide["faulty"] - wide["sound"] == pytest.approx(wide["gap"])
    for fault, measure in (("low", "gap"), ("wide", "rank")):
        other = row(table, fault, measure)
        assert not other["caught"]
        assert not other["claimed"]
    assert verdicts(table) == {"low": True, "wide": True}


def test_what_is_as_good_or_better_is_not_caught() -> None:
    sound = scores(1, 0)
    faulty = {"same": sound, "alike": scores(1, 0, 1), "better": scores(1.5, -0.5, 2)}
    table = caught(sound, faulty, BETTER, dict.fromkeys(BETTER, tuple(faulty)))
    assert not table["caught"].any()
    assert verdicts(table) == dict.fromkeys(faulty, False)
    assert row(table, "same", "rank")["p"] == 1
    better = row(table, "better", "gap")
    assert better["gap"] < 0
    assert better["p"] < 0.05  # which is told: that measure is fooled


def test_a_fault_is_caught_by_all_that_claim_to_see_it() -> None:
    faulty = {"low": scores(0.5, 0, 1)}
    table = caught(scores(1, 0), faulty, BETTER, dict.fromkeys(BETTER, ("low",)))
    assert row(table, "low", "rank")["caught"]
    assert verdicts(table) == {"low": False}  # gap claims to, and does not


def test_a_fault_that_nothing_claims_to_see_is_not_caught_though_it_is_told() -> None:
    table = caught(scores(1, 0), {"low": scores(0.5, 0, 1)}, BETTER, {})
    assert row(table, "low", "rank")["caught"]
    assert not table["claimed"].any()
    assert verdicts(table) == {"low": False}


def test_rounding_is_not_caught() -> None:
    sound = pl.DataFrame({"gap": np.full(USERS, 1e-7)})
    faulty = pl.DataFrame({"gap": np.full(USERS, 3e-6)})
    table = caught(sound, {"off": faulty}, {"gap": "lower"}, {"gap": ("off",)})
    assert row(table, "off", "gap")["p"] < 0.05
    assert not row(table, "off", "gap")["caught"]


def test_what_cannot_be_judged_catches_nothing() -> None:
    sound = scores(1, 0).with_columns(once=pl.lit(1.0))
    never = sound.with_columns(rank=pl.lit(None, pl.Float64)).drop("once")
    claims = {"rank": ("never",), "once": ("never",)}
    table = caught(sound, {"never": never}, {**BETTER, "once": "higher"}, claims)
    for measure in ("rank", "once"):
        found = row(table, "never", measure)
        assert found["claimed"]
        assert not found["caught"]
        assert found["p"] is found["sound"] is found["gap"] is None
    assert verdicts(table) == {"never": False}


def test_users_who_are_not_judged_with_both_are_left_out() -> None:
    sound, faulty = scores(1, 0), scores(0.5, 0, 1)
    some = pl.int_range(USERS) < 20
    few = faulty.with_columns(pl.when(some).then("rank"))
    found = row(caught(sound, {"low": few}, BETTER, {"rank": ("low",)}), "low", "rank")
    assert found["caught"]
    assert found["sound"] == pytest.approx(sound["rank"].head(20).mean())
    assert found["faulty"] == pytest.approx(faulty["rank"].head(20).mean())


def test_p_values_are_corrected_among_the_claims() -> None:
    faulty = {f"slight {at}": scores(0.97, 0, at + 1) for at in range(8)}
    table = caught(scores(1, 0), faulty, BETTER, {"rank": tuple(faulty)})
    own = table.filter(pl.col("claimed"))
    assert own.height == 8
    plain = [
        paired(scores(1, 0)["rank"].to_numpy(), each["rank"].to_numpy())["p"]
        for each in faulty.values()
    ]
    assert own["p"].to_list() == pytest.approx(holm(plain))


def test_however_many_are_told_each_can_be_caught() -> None:
    # With as few resamples as one pair needs, no p-value among so many could be below 0.05.
    faulty = {f"low {at}": scores(0.5, 0, at + 1) for at in range(120)}
    table = caught(scores(1, 0), faulty, {"rank": "higher"}, {"rank": tuple(faulty)})
    assert all(verdicts(table).values())


def test_frames_of_other_users() -> None:
    with pytest.raises(ValueError, match="59 users with a fault, and 60 without"):
        caught(scores(1, 0), {"short": scores(1, 0).head(59)}, BETTER, {})
