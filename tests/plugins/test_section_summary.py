"""The summary says the run's numbers, and is honest about them."""

from __future__ import annotations

import re

import polars as pl
import pytest
from chapters import artefact, blocks, rendered, words

from xrec.report.section import Table
from xrec.runs.run import Run


def test_the_summary_says_what_was_trained_on_what(tiny_run) -> None:
    rows = artefact(tiny_run, "data.json")["rows"]
    said = words(rendered("summary", tiny_run))
    assert f"{rows['interactions']:,} events of {rows['active users']:,} users" in said
    assert f"{rows['items']:,} items (planted data)" in said


def test_the_summary_compares_the_model_with_the_best_baseline(tiny_run) -> None:
    ranking = artefact(tiny_run, "quality.json")["ranking"]
    own = ranking.pop("sequential")["ndcg@10"]["mean"]
    name, best = max(
        ((name, each["ndcg@10"]["mean"]) for name, each in ranking.items()), key=lambda e: e[1]
    )
    said = words(rendered("summary", tiny_run))
    told = re.search(r"ndcg@10 is ([\d.]+), ([\d.]+) times the ([\d.]+) of the best", said)
    assert told, said
    assert float(told[1]) == pytest.approx(own, abs=0.0005)
    assert float(told[2]) == pytest.approx(own / best, abs=0.005)
    assert float(told[3]) == pytest.approx(best, abs=0.0005)
    assert f"best baseline, {name.replace('_', ' ')}" in said


def test_the_summary_counts_hits_from_the_ranks(tiny_run) -> None:
    ranks = pl.read_parquet(tiny_run.folder / "ranks.parquet").filter(model="sequential")["rank"]
    hits = 100 * (ranks <= 10).mean()
    assert f"among its first 10 for {hits:.1f}\N{NO-BREAK SPACE}%" in words(
        rendered("summary", tiny_run)
    )


@pytest.mark.parametrize(
    ("own", "best", "says", "not_says"),
    [
        ((0.3, 0.28, 0.32), (0.1, 0.08, 0.12), "3.00 times", "chance"),
        ((0.1, 0.08, 0.12), (0.2, 0.11, 0.22), "0.50 times", "the baselines lose"),
        ((0.1, 0.08, 0.12), (0.2, 0.11, 0.22), "may be chance", "the baselines lose"),
        ((0.1, 0.08, 0.12), (0.0, 0.0, 0.0), "beside the 0.000", "times"),
    ],
)
def test_the_summary_is_honest_about_the_baseline(tiny_run, tmp_path, own, best, says, not_says):
    def figure(values: tuple[float, float, float]) -> dict[str, dict[str, float]]:
        return {"ndcg@10": dict(zip(("mean", "low", "high"), values, strict=True))}

    copy = Run(tiny_run.recipe, tmp_path)
    for name in ("data.json", *(f"fidelity/{label}.json" for label in tiny_run.explainers())):
        copy.store.write_text(name, (tiny_run.folder / name).read_text())
    for label in tiny_run.explainers():
        copy.store.write_table(
            f"fidelity/{label}.parquet", tiny_run.store.table(f"fidelity/{label}.parquet")
        )
    ranking = {"sequential": figure(own), "ease": figure(best), "popularity": figure((0, 0, 0))}
    copy.store.write_json("quality.json", {"ranking": ranking, "users": 60})
    said = words(rendered("summary", copy))
    assert says in said
    assert not_says not in said
    assert "of users." not in said  # no recall was measured, so that no hits are told


def test_the_summary_names_the_best_explainer_of_each_measure(planted_run) -> None:
    found = {
        label: artefact(planted_run, f"fidelity/{label}.json") for label in planted_run.explainers()
    }
    (table,) = blocks(rendered("summary", planted_run), Table)
    assert len(table.rows) == 5  # deletion, and four of planted truth
    for measure, explainer, score, time in table.rows:
        name, way = measure.split("\n")
        name = name.replace(" ", "_")
        sign = 1 if way.startswith("higher") else -1
        means = {label: sign * each["measures"][name]["mean"] for label, each in found.items()}
        best = max(means, key=means.__getitem__)
        assert explainer.split("\n")[0] == f"{best.replace('_', ' ')} (floor)"
        assert float(score.split(" ± ")[0]) == pytest.approx(sign * means[best], abs=0.0005)
        p50 = 1000 * found[best]["latency"]["p50"]
        assert float(time) == pytest.approx(p50, abs=0.5 if p50 >= 10 else 0.05)


def test_the_summary_of_a_run_without_explainers(bare_run, unmeasured_run) -> None:
    assert "No explainer was asked for." in words(rendered("summary", bare_run))
    assert not blocks(rendered("summary", bare_run), Table)
    assert "random; no measure was asked for." in words(rendered("summary", unmeasured_run))
