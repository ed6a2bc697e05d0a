"""Seed stability by hand, of explainers that draw in known ways."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from asking import Drawing, Saying, asked
from explain.toys import contributions, random_toy
from scipy import stats
from torch import Tensor

from xrec.models.inputs import Inputs
from xrec.plugins import factory
from xrec_plugins.metrics.seed_stability import SeedStability


def drawn(inputs: Inputs, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(inputs.present.shape, generator=generator)


def test_it_is_the_mean_over_pairs_of_seeds() -> None:
    model, inputs = random_toy(rows=3, slots=12, seed=0)
    found = SeedStability(draws=2).measure(asked(Drawing(drawn, 4), model, inputs))
    told = [drawn(inputs, seed) for seed in (4, 5, 6)]
    for row in range(3):
        players = inputs.players[row].nonzero()[:, 0].tolist()
        pairs = list(combinations([values[row, players] for values in told], 2))
        ranks = [stats.spearmanr(*pair).statistic for pair in pairs]
        tops = [set(values.abs().topk(5).indices.tolist()) for pair in pairs for values in pair]
        shares = [len(one & two) / 5 for one, two in zip(tops[::2], tops[1::2], strict=True)]
        assert float(found["stability_rank"][row]) == pytest.approx(sum(ranks) / 3)
        assert float(found["stability_top"][row]) == pytest.approx(sum(shares) / 3)


def test_who_draws_nothing_agrees_with_itself_and_is_not_asked() -> None:
    model, inputs = random_toy(rows=3, slots=8, seed=0)
    exact = Saying(contributions)
    case = asked(exact, model, inputs)
    found = SeedStability(rows=2).measure(case)
    assert exact.asked == 3
    for values in found.values():
        assert values.tolist() == pytest.approx([1, 1, torch.nan], nan_ok=True)


def test_who_draws_and_says_the_same_all_the_same_is_stable() -> None:
    model, inputs = random_toy(rows=2, slots=8, seed=0)
    for says in (lambda i, seed: i.values[..., 0], lambda i, seed: torch.ones(i.present.shape)):
        found = SeedStability().measure(asked(Drawing(says), model, inputs))
        assert all(values.tolist() == [1, 1] for values in found.values())


def test_more_permutations_make_an_estimate_more_stable() -> None:
    model, inputs = random_toy(rows=3, slots=8, seed=0)

    def rank(permutations: int) -> float:
        explainer = factory("explainer", "shapley_sampling")(permutations=permutations)
        found = SeedStability().measure(asked(explainer, model, inputs))
        return float(found["stability_rank"].mean())

    assert rank(1) + 0.02 < rank(30) <= 1


def test_rows_without_an_order_or_without_features() -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=0, fixed=(0,))
    present = inputs.present.clone()
    present[0] = inputs.features.fixed[0]
    present[1] = inputs.features.fixed[1]
    present[1, 2] = True
    few = inputs.with_present(present)
    for explainer in (Drawing(drawn), Saying(contributions)):
        found = SeedStability().measure(asked(explainer, model, few))
        assert found["stability_rank"].isnan().tolist() == [True, True, False]
        assert found["stability_top"].isnan().tolist() == [True, False, False]


@pytest.mark.parametrize("name", ["draws", "rows"])
def test_bad_options(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        SeedStability(**{name: 0})
