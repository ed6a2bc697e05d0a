"""Within a budget: what is chosen from a measured frontier, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from xrec import Recipe, run
from xrec.errors import RecipeError, XrecError
from xrec.explain.explainer import Choosing, Measured
from xrec.explain.target import logit, margin
from xrec.runs import explanations
from xrec.runs.asking import ask
from xrec.runs.run import Run
from xrec.testing import check_explainer, small_model
from xrec_plugins.explainers.leave_one_out import LeaveOneOut
from xrec_plugins.explainers.recency import Recency
from xrec_plugins.explainers.within_budget import WithinBudget


def point(seconds: float, mean: float, way: str = "higher", name: str = "faith") -> Measured:
    score = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}
    return Measured(Recency(), {name: score}, {name: way}, seconds)


FRONTIER = {
    "exact": point(0.100, 1.0),
    "middle": point(0.010, 0.9),
    "slow": point(0.015, 0.8),
    "quick": point(0.002, 0.6),
}


@pytest.mark.parametrize(
    ("ms", "fidelity", "chosen", "said"),
    [
        (20, 0.8, "middle", "For faith 0.8 within 20 ms: middle, the quickest of 4 that reaches"),
        (20, 0.5, "quick", "quick, the quickest of 4 that reaches it, with faith 0.600 (0.550 to"),
        (200, 0.95, "exact", "exact, the quickest"),
        (20, 0.88, "middle", "None of 4 explainers reaches faith 0.88 within 20 ms. It is middle,"),
        (5, 0.9, "quick", "It is quick, the most faithful in time: faith 0.600"),
        (1, 0.1, "quick", "It is quick, the quickest, as none is in time: faith 0.600"),
    ],
)
def test_the_quickest_that_is_faithful_enough(ms: float, fidelity: float, chosen: str, said: str):
    budget = WithinBudget(ms, fidelity, "faith")
    told = budget.choose(FRONTIER)
    assert said in told
    assert budget._chosen is not None
    assert budget._chosen[0] == chosen


def test_where_lower_is_better_it_must_be_at_most_that():
    frontier = {"a": point(0.01, 0.2, "lower"), "b": point(0.001, 0.4, "lower")}
    assert "a, the quickest of 2" in WithinBudget(20, 0.3, "faith").choose(frontier)
    assert "It is a, the most faithful in time" in WithinBudget(20, 0.1, "faith").choose(frontier)


def test_those_that_the_measure_does_not_judge_are_not_chosen():
    frontier = {"a": point(0.01, 0.9), "b": point(0.001, 0.9, name="other")}
    assert "a, the quickest of 1" in WithinBudget(20, 0.5, "faith").choose(frontier)
    nothing: Mapping[str, Measured] = {"b": frontier["b"]}
    with pytest.raises(XrecError, match="no explainer of this run was judged by 'faith'"):
        WithinBudget(20, 0.5, "faith").choose(nothing)


def test_it_explains_by_the_one_chosen():
    model, inputs = small_model()
    budget = WithinBudget(20, 0.5, "faith")
    assert isinstance(budget, Choosing)
    with pytest.raises(XrecError, match="chooses among the explainers of a run"):
        budget.explain(model, inputs, logit)
    whole = {"loo": Measured(LeaveOneOut(), **_figures())}
    budget.choose(whole)
    told = budget.explain(model, inputs, logit)
    assert told.explainer == "within_budget (loo)"
    assert torch.equal(told.values, LeaveOneOut().explain(model, inputs, logit).values)
    check_explainer(budget, model, inputs)


def _figures() -> dict[str, object]:
    one = point(0.001, 0.9)
    return {"measures": one.measures, "better": one.better, "seconds": one.seconds}


def test_a_latency_must_be_possible():
    with pytest.raises(ValueError, match="latency_ms is 0"):
        WithinBudget(0, 0.5)


# In a run


@dataclass(frozen=True)
class Asked:
    """A run, and the frontier that its explainer chose from."""

    done: Run
    said: str


EXPLAIN = [
    {"name": "within_budget", "latency_ms": 1e6, "fidelity": -1e6, "measure": "insertion"},
    "leave_one_out",
    {"name": "kernel_shap", "label": "few", "evaluations": 8},
    {"name": "kernel_shap", "label": "many", "evaluations": 300},
]


@pytest.fixture(scope="module")
def recipe(tiny_run: Run) -> Recipe:
    pytest.importorskip("shap")
    whole = Recipe.load(Path(tiny_run.folder.parents[2] / "tiny.yaml"), ["train.epochs=1"])
    given = {**whole.resolved, "explain": EXPLAIN, "fidelity": ["insertion"]}
    given["protocol"] = {**given["protocol"], "target": "margin"}
    return Recipe.of(given)


@pytest.fixture(scope="module")
def done(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    lines: list[str] = []
    finished = run(recipe, tmp_path_factory.mktemp("budget"), lines.append)
    return Asked(finished, "\n".join(lines))


def test_a_run_chooses_last_and_says_why(done: Asked):
    said = done.done.store.json("explainers/within_budget.json")["said"]
    assert said in done.said
    assert done.said.index("explain.within_budget") > done.said.index("fidelity.many")
    chosen = said.partition(": ")[2].partition(",")[0]
    assert chosen in ("leave_one_out", "few", "many")
    times = {
        label: done.done.store.json(f"fidelity/{label}.json")["latency"]["p50"]
        for label in ("leave_one_out", "few", "many")
    }
    assert chosen == min(times, key=times.__getitem__)
    own = done.done.store.table("explanations/within_budget.parquet")
    theirs = done.done.store.table(f"explanations/{chosen}.parquet")
    assert own["value"].to_list() == pytest.approx(theirs["value"].to_list(), abs=1e-5)
    assert said in (done.done.folder / "report.html").read_text()


def test_one_explainer_comes_twice_under_labels(done: Asked):
    few, many = (done.done.store.json(f"explanations/{name}.json") for name in ("few", "many"))
    assert few["explainer"] == many["explainer"] == "kernel_shap"
    assert few["cost"]["forward"] < many["cost"]["forward"]


def test_the_runs_target_is_what_is_explained(done: Asked):
    inputs = done.done.subject.inputs
    told = explanations.read(done.done.store, "few", inputs)
    assert told.target == "margin"
    with torch.no_grad():
        expected = margin(done.done.model, inputs)
    assert torch.allclose(told.score, expected, atol=1e-5)
    assert (told.score >= 0).all()  # the first choice is ahead of the runner-up
    table = done.done.store.table("recommendations.parquet")
    second = table.filter(table["rank"] == 2)["item"].to_list()
    assert [done.done.data.items.ids[at] for at in inputs.rivals[:, 0].tolist()] == second


def test_a_person_is_answered_within_the_budget(done: Asked):
    user = done.done.data.users.ids[1]
    answer = ask(Run.open(done.done.folder), user, explainer="within_budget")
    assert "within_budget (" in answer.note


@pytest.mark.parametrize(
    ("explain", "complaint"),
    [
        ([{"name": "random", "label": "a/b"}], r"explain\[0\].label: 'a/b' must be a word"),
        (["random", {"name": "recency", "label": "random"}], "explain: 'random' is listed more"),
    ],
)
def test_labels_are_checked(recipe: Recipe, explain: list[object], complaint: str):
    with pytest.raises(RecipeError, match=complaint):
        Recipe.of({**recipe.resolved, "explain": explain})


def test_a_target_must_be_known(recipe: Recipe):
    with pytest.raises(RecipeError, match=r"protocol.target: there is no 'margn': .*'margin'"):
        recipe.changed({"protocol.target": "margn"})
