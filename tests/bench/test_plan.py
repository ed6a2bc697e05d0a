"""What is tried: budgets, floors, a ceiling."""

from __future__ import annotations

import pytest

from xrec.bench.plan import FLOORS, NEARLY, measures, planned, selecting, tried
from xrec.errors import RecipeError
from xrec.plugins import factory
from xrec.recipe import Choice, Recipe


def recipe(explain: list, **bench: object) -> Recipe:
    return Recipe.of(
        {
            "name": "tiny",
            "data": {"dataset": "planted"},
            "model": "sequential",
            "explain": explain,
            "fidelity": ["deletion", "completeness"],
            "bench": bench,
        }
    )


def names(explain: list, features: int = 30, **bench: object) -> dict[str, list[str]]:
    found = planned(recipe(explain, **bench), features)
    return {each.label: [one.name for one in each.settings] for each in found}


def test_an_explainer_is_tried_by_shares_of_its_own_budget() -> None:
    found = names(
        [{"name": "kernel_shap", "evaluations": 400}, {"name": "integrated_gradients", "steps": 8}],
        budgets=[1, 0.25],
    )
    assert found["kernel_shap"] == ["evaluations=100", "evaluations=400"]
    assert found["integrated_gradients"] == ["steps=2", "steps=8"]


def test_what_has_no_budget_is_tried_once() -> None:
    found = names(["saliency", {"name": "amortised_shapley", "evaluations": 0}])
    assert found["saliency"] == [""]
    assert names(["gradient_x_input"])["gradient_x_input"] == [""]  # its `samples` are of baselines
    assert found["amortised_shapley"] == [""]


def test_budgets_too_small_to_work_with_are_left_out() -> None:
    choice = Choice("explainer", "fast_shapley", {"evaluations": 16}, "explain[0]")
    assert [one.name for one in tried(choice, [0.25, 1]).settings] == ["evaluations=16"]


def test_settings_make_what_they_say() -> None:
    choice = Choice("explainer", "kernel_shap", {"evaluations": 64, "seed": 3}, "explain[0]")
    made = [one.make() for one in tried(choice, [0.5, 1]).settings]
    assert [(each.evaluations, each.seed) for each in made] == [(32, 3), (64, 3)]


def test_floors_and_a_ceiling_are_always_there() -> None:
    assert set(FLOORS) < set(names([]))
    assert set(names([], features=10)) - set(FLOORS) == {"exact_shapley"}
    assert set(names([], features=17)) - set(FLOORS) == {NEARLY}
    kinds = {each.label: each.own.standing for each in planned(recipe([]), 30)}
    assert kinds[NEARLY] == "ceiling"
    assert kinds["random"] == "floor"


def test_what_the_recipe_lists_is_not_added_again() -> None:
    found = names([{"name": "random", "label": "dice"}, "exact_shapley"], features=10)
    assert list(found).count("exact_shapley") == 1
    assert "random" not in found


def test_who_chooses_among_others_does_not_enter() -> None:
    assert "within_budget" not in names(
        [{"name": "within_budget", "latency_ms": 5, "fidelity": 0.5}, "saliency"]
    )


def test_measures_are_taken_under_each_operator_if_they_take_features_away() -> None:
    metrics = [factory("metric", name)() for name in ("deletion", "completeness")]
    found = measures(metrics, ["remove", "baseline"])
    assert found["deletion@baseline"] == "lower"
    assert "deletion" not in found


def test_the_measure_that_chooses_must_be_taken() -> None:
    metrics = [factory("metric", "deletion")()]
    assert selecting(recipe([], select="deletion@remove"), metrics) is metrics[0]
    with pytest.raises(RecipeError, match=r"bench.select: .*'deletion': did you mean 'deletion@"):
        selecting(recipe([], select="deletion"), metrics)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"users": 0}, "users is 0"),
        ({"operators": []}, "operators is"),
        ({"operators": ["delete"]}, "operators is 'delete'"),
        ({"seeds": [1, 1]}, "seeds is"),
        ({"budgets": [0]}, "above 0"),
        ({"user": 3}, "users"),
    ],
)
def test_bad_options_are_named(bad: dict, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe([], **bad)
