"""Explanations that are safe to show: what they tell, what they leave out, and the noise."""

from __future__ import annotations

import math

import dp_accounting
import pytest
import torch
from chapters import rendered, words
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec import Recipe, run
from xrec.data.features import GROUPS, ITEM, OTHER
from xrec.errors import RecipeError, XrecError
from xrec.explain.target import logit
from xrec.report.card import card
from xrec.runs import explanations
from xrec.runs.run import Run
from xrec_plugins.explainers.leave_one_out import LeaveOneOut
from xrec_plugins.privacy.gaussian import delta_of, noise_for, noised
from xrec_plugins.privacy.private_explanations import coarsened, importance


@pytest.fixture(scope="module")
def told(tiny_run):
    """What leave_one_out says of the tiny run's recommendations."""
    return LeaveOneOut().explain(tiny_run.model, tiny_run.subject.inputs, logit)


@pytest.fixture(scope="module")
def private(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny run with its explanations made private."""
    own = Recipe.load(tiny_run.folder.parents[2] / "tiny.yaml").resolved
    given = {**own, "privacy": [{"name": "private_explanations", "k": 2, "epsilon": 2}]}
    return run(Recipe.of(given), tmp_path_factory.mktemp("private"))


# Coarsened


def named(told, row: int) -> list[int]:
    features = told.features
    return [s for s in range(features.group.shape[1]) if features.name(row, s) != OTHER]


@pytest.mark.parametrize("k", [0, 1, 3, 100])
def test_the_k_largest_of_the_user_are_named_and_no_other(told, k: int) -> None:
    coarse = coarsened(told, k, 0.01)
    for row in range(len(told)):
        there = told.present[row] & (told.features.group[row] != ITEM)
        user = there.nonzero()[:, 0].tolist()
        order = sorted(user, key=lambda slot: -abs(float(told.values[row, slot])))
        shown = [s for s in named(coarse, row) if s in user]
        assert sorted(shown) == sorted(order[:k])


def test_groups_keep_their_sums_to_the_step_and_all_is_rounded(told) -> None:
    step = 0.05
    coarse = coarsened(told, 2, step)
    for group, total in told.by_group().items():
        slack = step / 2 * (3 + 2 * (group == "item") * told.present.shape[1])
        assert torch.allclose(coarse.by_group()[group], total, atol=slack)
    sums = torch.cat([*coarse.by_group().values()]) / step
    assert torch.allclose(sums, sums.round(), atol=1e-3)
    assert (coarse.removal, coarse.deviation, coarse.steps) == (None, None, None)


def test_what_is_not_named_cannot_be_told_apart(told) -> None:
    """Changing which of the unnamed events had which part changes nothing that is shown."""
    coarse = coarsened(told, 1, 0.1)
    for row in range(len(told)):
        for group in range(len(GROUPS)):
            slots = [
                s
                for s in told.present[row].nonzero()[:, 0].tolist()
                if int(told.features.group[row, s]) == group
                and coarse.features.name(row, s) == OTHER
            ]
            assert len({float(coarse.values[row, s]) for s in slots}) <= 1
            assert len({int(coarse.features.key[row, s]) for s in slots}) <= 1


def test_a_card_names_nothing_that_is_hidden(told) -> None:
    shown = card(coarsened(told, 0, 0.1), 0, "user u", "a film")
    texts = [*shown.lines, *(bar.name for bar in shown.bars)]
    for slot in told.present[0].nonzero()[:, 0].tolist():
        if int(told.features.group[0, slot]) != ITEM:
            assert not any(told.features.name(0, slot) in text for text in texts)


def test_a_run_keeps_only_what_is_private_and_reads_it_back(private: Run, tiny_run) -> None:
    for label in private.explainers():
        table = private.store.table(f"explanations/{label}.parquet")
        behaviour = table.filter(group="behaviour")
        by_name = behaviour.filter(behaviour["feature"] != OTHER)
        assert len(behaviour) > len(by_name)
        assert all(len(each) <= 2 for _, each in by_name.group_by("row"))
        back = explanations.read(private.store, label, private.subject.inputs)
        assert back.to_arrow()["feature"].to_pylist() == table["feature"].to_list()


# Released


def test_importance_is_each_rows_shares(told) -> None:
    found = importance(told)
    total = torch.stack([*found.values()]).sum(0)
    assert torch.allclose(total, torch.ones_like(total))
    size = told.values.abs()
    behaviour = torch.where(told.features.group == 1, size, 0).sum(1) / size.sum(1)
    assert torch.allclose(found["behaviour"], behaviour.double(), atol=1e-6)
    assert not {"profile", "fixed"} & found.keys()


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 8), st.sampled_from([1e-3, 1e-5, 1e-7]))
def test_the_noise_is_the_least_that_dp_accounting_finds_enough(epsilon: float, delta: float):
    sigma = noise_for(epsilon, delta)
    assert delta_of(sigma, epsilon) == pytest.approx(delta, rel=1e-4)
    loss = dp_accounting.pld.privacy_loss_distribution
    found = loss.from_gaussian_mechanism(sigma, value_discretization_interval=1e-4)
    assert found.get_epsilon_for_delta(delta) == pytest.approx(epsilon, rel=0.01)


def test_noise_has_its_deviation_and_is_never_the_same() -> None:
    torch.manual_seed(0)
    one = torch.tensor(noised([5.0] * 4000, 2.0))
    torch.manual_seed(0)
    other = torch.tensor(noised([5.0] * 4000, 2.0))
    assert not one.equal(other)
    assert abs(float(one.mean()) - 5) < 6 * 2 / math.sqrt(4000)
    assert float(one.std()) == pytest.approx(2, rel=0.1)


def test_a_run_releases_importance_once(private: Run) -> None:
    told = private.store.json("importance.json")
    labels = len(private.explainers())
    assert told["sigma"] == pytest.approx(math.sqrt(labels) * noise_for(2, 1e-5))
    assert {row["explainer"] for row in told["rows"]} == set(private.explainers())
    before = (private.folder / "importance.json").read_bytes()
    run(private.recipe, private.folder.parents[1])
    assert (private.folder / "importance.json").read_bytes() == before
    assert "epsilon 2 at delta 1e-05" in words(rendered("importance", private))


def test_without_a_release_there_is_no_section(tiny_run) -> None:
    assert not rendered("importance", tiny_run).blocks
    assert tiny_run.store.record("release") is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epsilon": 0}, "privacy[0]: epsilon is 0.0, it must be above 0 and finite"),
        ({"epsilon": -1}, "privacy[0]: epsilon is -1.0, it must be above 0"),
        ({"delta": 1}, "privacy[0]: delta is 1.0, it must be between 0 and 1"),
        ({"step": 0}, "privacy[0]: step is 0.0, it must be above 0"),
        ({"k": -1}, "privacy[0]: k is -1, it must be at least 0"),
    ],
)
def test_a_bad_option_is_named(tiny_recipe, options: dict, sentence: str) -> None:
    own = Recipe.load(tiny_recipe).resolved
    with pytest.raises(RecipeError) as error:
        Recipe.of({**own, "privacy": [{"name": "private_explanations", **options}]}).check()
    assert str(error.value).startswith(sentence)


def test_a_delta_too_large_for_the_users_is_refused(tiny_recipe, tmp_path) -> None:
    own = Recipe.load(tiny_recipe).resolved
    mechanism = {"name": "private_explanations", "delta": 0.5}
    with pytest.raises(XrecError, match=r"delta 0.5 must be below 1 over the 6 users"):
        run(Recipe.of({**own, "privacy": [mechanism]}), tmp_path)
