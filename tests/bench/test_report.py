"""The pages say what the numbers say, of any benchmark, and can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
from reading import Node, read
from synthetic import EXPLAINERS, Made, budget, write

from xrec.bench.files import Bench
from xrec.bench.findings import Findings
from xrec.bench.grid import grid
from xrec.bench.report import write_report
from xrec.bench.short import short
from xrec.bench.tables import every_score
from xrec.bench.use import use
from xrec.errors import RunError
from xrec.report.section import Chapter, Picture, Terms

VARIANTS = ("8-bit weights", "private, ε 2")
FEW = {name: EXPLAINERS[name] for name in ("fast_shapley", "kernel_shap", "leave_one_out")} | {
    "attention_rollout": EXPLAINERS["attention_rollout"],
    "exact_shapley": EXPLAINERS["exact_shapley"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A benchmark of all kinds of explainer, with a grid, and its report."""
    folder = write(tmp_path_factory.mktemp("bench"), FEW, users=40, variants=VARIANTS, hard=0.3)
    assert write_report(folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def pages(folder: Path) -> dict[str, Node]:
    paths = [folder / "report.html", *sorted((folder / "explainers").iterdir())]
    return {path.stem: read(path.read_text()) for path in paths}


@pytest.fixture(scope="module")
def findings(folder: Path) -> Findings:
    return Findings(Bench.open(folder))


def said(findings: Findings) -> str:
    """All that the first page's terms say in short."""
    (terms,) = blocks([short(findings)], Terms)
    return plain(" ".join(f"{term}: {text}" for term, text in terms.pairs))


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def made(folder: Path, *given, **how) -> Findings:
    return Findings(Bench.open(write(folder, *given, **how)))


def blocks(chapters: list[Chapter], kind: type) -> list:
    return [each for chapter in chapters for each in chapter.blocks if isinstance(each, kind)]


# Pages


def test_there_is_a_page_for_each_explainer_and_links_lead_both_ways(folder, pages) -> None:
    assert set(pages) == {"report", *FEW}
    assert not [path for path in folder.rglob("*") if path.name.endswith("partial")]
    links = {a.attrs["href"] for a in pages["report"].all("a")}
    for label in FEW:
        assert f"explainers/{label}.html" in links
        back = [a.attrs["href"] for a in pages[label].all("a")]
        assert "../report.html" in back
    for href in links:
        assert href.startswith("#") or (folder / href).is_file()


def test_pages_fetch_nothing_and_their_names_do_not_clash(pages) -> None:
    for tree in pages.values():
        ids = [node.attrs["id"] for node in tree.walk() if "id" in node.attrs]
        assert len(ids) == len(set(ids))
        assert not [n for n in tree.walk() if n.tag in ("script", "link", "img", "iframe")]
        for node in tree.walk():
            for name in ("src", "xlink:href", "data", "srcset"):
                assert node.attrs.get(name, "#").startswith("#")
            assert not re.match(r"\w+:", node.attrs.get("href", ""))
        assert len(tree.all("style")) == 1
        assert "nan" not in re.findall(r"\w+", tree.one("main").text.lower())
        assert "None" not in re.findall(r"\w+", tree.one("main").text)


def test_every_picture_has_words(pages) -> None:
    for tree in pages.values():
        for figure in tree.all("figure"):
            (image,) = [div for div in figure.all("div") if div.attrs.get("role") == "img"]
            assert len(image.attrs["aria-label"]) > 40
            assert figure.one("svg")
    assert len(pages["report"].all("figure")) == 4  # two measures, their agreement, the grid
    assert len(pages["kernel_shap"].all("figure")) == 1


def test_who_fails_a_gate_is_marked_wherever_it_is_named_in_a_table(pages) -> None:
    heads = [th for th in pages["report"].all("th") if th.text.startswith("attention rollout")]
    assert len(heads) >= 5
    assert all(head.text.endswith("heuristic, fails a gate") for head in heads)
    assert "fails a gate" in pages["attention_rollout"].one("h1").text
    assert "attention rollout*" in [t.text for t in pages["report"].all("text")]


def test_the_table_shows_every_score(findings, pages) -> None:
    cells = [td.text for td in pages["report"].all("td", "number")]
    for label, scores in findings.scores.items():
        for measure, score in scores.items():
            shown = f"{score.mean:.3f} ± {(score.high - score.low) / 2:.3f}"
            assert shown in cells, (label, measure)


def test_the_measure_that_chose_settings_stands_apart(findings) -> None:
    tables = every_score(findings)
    assert tables[-1].spans[-1] == ("chosen by", 1)
    assert tables[-1].head[-1].startswith("infidelity (remove)")
    apart = len(tables[-1].head) - 1
    assert not [cell for cell in tables[-1].best if cell[1] == apart]
    assert all(sum(width for _, width in t.spans) == len(t.head) for t in tables if t.spans)
    assert all(len(table.head) <= 9 for table in tables)


# What is said


def test_in_short_it_says_what_to_use_and_why(findings) -> None:
    told = said(findings)
    first, *rest = findings.steps
    assert first.unit == ("fast_shapley", "")
    assert (
        f"With 0.91 ms for an explanation: fast shapley (planted precision {first.score:.3f})"
        in (told)
    )
    for step in rest:
        assert f"{step.score:.3f}, better by {step.gain:.3f}" in told
    assert "The model uses the planted causes in 93 % of recommendations" in told
    assert "attention rollout (linear) fails a gate" in told
    assert "40 test users, 2 trained models and 2 draws" in told
    assert re.search(r"Kendall's τ of [−\d.]+ on average", told)


def test_it_says_when_nothing_is_better_than_a_floor(tmp_path) -> None:
    told = said(made(tmp_path, {"poor": Made(0.3), "floor": Made(0.5, "floor")}, users=20))
    assert "None of them yet: by planted precision" in told
    assert "poor is not surely better than every floor" in told
    assert "The floor floor is the best by" in told
    assert "Only 20 users" in told


def test_it_says_that_the_plant_is_hardly_taken_up_or_not_known(tmp_path) -> None:
    one = {"one": Made(0.8)}
    assert "The plant is hardly taken up" in said(made(tmp_path, one, users=10, taken_up=0.3))
    told = said(made(tmp_path, one, users=10, taken_up=None))
    assert "The true causes are not known" in told
    assert "taken up" not in told


def test_a_page_says_when_to_use_its_explainer(findings) -> None:
    entrants = findings.bench.explainers.values()
    told = {e.label: plain(" ".join(use(findings, e))) for e in entrants}
    level = len(findings.level("fast_shapley"))
    assert (
        f"As faithful as the best by {level} of 11 measures, in 0.005 of the time of kernel"
        in (told["fast_shapley"])
    )
    assert "Fitting it takes 41 s" in told["fast_shapley"]
    assert "where an explanation may take 0.91 ms or more" in told["fast_shapley"]
    assert "Surely better than every floor by 11 of 11 measures" in told["kernel_shap"]
    assert "Less faithful for users with 3–9 past events" in told["kernel_shap"]
    assert told["attention_rollout"].startswith("Do not rely on it: it fails a gate, linear (contr")
    assert "Use it" not in told["attention_rollout"]
    assert told["leave_one_out"].startswith("A floor, for others to beat")
    assert told["exact_shapley"].startswith("A ceiling")


def test_every_sentence_is_one(pages) -> None:
    for tree in pages.values():
        for p in tree.one("main").all("p"):
            assert p.text.endswith((".", "interval.", "gate.", ")")), p.text
            assert ".." not in p.text.replace("…", "")
            assert "  " not in p.text


# Whatever the benchmark lacks


def laid_out(folder: Path) -> str:
    text = write_report(folder).read_text()
    read(text)
    for path in (folder / "explainers").iterdir():
        text += path.read_text()
        read(path.read_text())
    return text


def test_one_explainer_alone(tmp_path) -> None:
    text = laid_out(write(tmp_path, {"only_one": Made(0.6)}, users=8, models=(0,), draws=(0,)))
    assert "only one" in text
    assert "One model was trained" in text
    assert "Do measures and models agree" not in text  # one is in no order


def test_a_floor_alone(tmp_path) -> None:
    assert "None of them yet" in laid_out(write(tmp_path, {"f": Made(0.6, "floor")}, users=8))


def test_settings_that_were_not_timed(tmp_path) -> None:
    explainers = {"one": Made(0.8, settings=budget(9, "n=1", "n=2", "n=4")), "two": Made(0.6)}
    untimed = [("one", "n=1"), ("two", "")]
    folder = write(tmp_path, explainers, users=8, models=(0,), untimed=untimed)
    text = laid_out(folder)
    assert "Not timed, and so in no chart: two." in text
    assert "It was not timed." in text


def test_nothing_was_timed(tmp_path) -> None:
    explainers = {"one": Made(0.8), "two": Made(0.6)}
    text = laid_out(write(tmp_path, explainers, users=8, untimed=[("one", ""), ("two", "")]))
    assert "Nothing was timed." in text


def test_measures_that_could_not_judge(tmp_path) -> None:
    explainers = {
        "one": Made(0.8, blind=("planted_precision",)),
        "two": Made(0.6, blind=("sparsity",)),
    }
    folder = write(tmp_path, explainers, users=8, models=(0,))
    rows = pl.read_parquet(folder / "rows.parquet")
    nothing = pl.lit(None, pl.Float64).alias("max_sensitivity")
    rows.drop("planted_rank").with_columns(nothing).write_parquet(folder / "rows.parquet")
    text = laid_out(folder)
    assert "Nothing could be judged by planted rank and max sensitivity." in text


def test_nothing_was_judged_at_all(tmp_path) -> None:
    folder = write(tmp_path, {"one": Made(0.8)}, users=4, better={"sparsity": "higher"})
    rows = pl.read_parquet(folder / "rows.parquet")
    rows.with_columns(sparsity=pl.lit(None, pl.Float64)).write_parquet(folder / "rows.parquet")
    text = laid_out(folder)
    assert "No measure judged any explanation" in text
    assert "No measure that is reported could judge it." in text


def test_a_grid_in_which_cells_failed(tmp_path) -> None:
    folder = write(tmp_path, {"one": Made(0.8), "two": Made(0.6)}, users=8, variants=VARIANTS)
    table = pl.read_parquet(folder / "tradeoff.parquet")
    lost = (pl.col("variant") == VARIANTS[1]) & (pl.col("explainer") == "two")
    figures = [name for name in table.columns if name not in ("variant", "explainer")]
    why = pl.when(lost).then(pl.lit("it has no gradient")).alias("said")
    nulls = [pl.when(~lost).then(pl.col(name)).alias(name) for name in figures]
    table.with_columns(*nulls, why).write_parquet(folder / "tradeoff.parquet")
    text = laid_out(folder)
    assert f"could not be measured: two on {VARIANTS[1]} (it has no gradient)." in text
    chapters = [Chapter("grid", grid(Findings(Bench.open(folder))))]
    (picture,) = [p for p in blocks(chapters, Picture) if "variant" in p.caption]
    assert "model MB: as trained 9, 8-bit weights 4.5" in picture.words


def test_names_from_a_benchmark_are_escaped(tmp_path) -> None:
    evil = "<script>alert(1)</script>"
    folder = write(tmp_path, {"one": Made(0.8)}, users=4)
    told = json.loads((folder / "bench.json").read_text())
    told["recipe"] = told["explainers"]["one"]["says"] = told["about"]["machine"] = evil
    (folder / "bench.json").write_text(json.dumps(told))
    assert "<script" not in laid_out(folder)


def test_an_older_report_stays_where_a_new_one_cannot_be_made(tmp_path) -> None:
    folder = write(tmp_path, {"one": Made(0.8)}, users=4)
    before = write_report(folder).read_text()
    (folder / "rows.parquet").unlink()
    with pytest.raises(RunError, match=r"rows\.parquet"):
        write_report(folder)
    assert (folder / "report.html").read_text() == before
