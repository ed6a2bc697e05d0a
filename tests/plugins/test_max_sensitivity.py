"""Max-sensitivity: captum's on the same perturbations, and by hand."""

from __future__ import annotations

import pytest
import torch
from asking import Drawing, Saying, asked
from captum.metrics import sensitivity_max
from explain.toys import contributions, random_toy
from torch import Tensor

from xrec.fidelity.perturbation import perturbed
from xrec.models.inputs import Inputs
from xrec.plugins import factory
from xrec_plugins.metrics.max_sensitivity import MaxSensitivity


def found(explainer, model, inputs, metric=None, **how) -> Tensor:
    return (metric or MaxSensitivity()).measure(asked(explainer, model, inputs, **how))[
        "max_sensitivity"
    ]


def test_it_is_captums_on_the_same_perturbations() -> None:
    model, inputs = random_toy(rows=4, slots=6, seed=3)
    exact = Saying(contributions)
    generator = torch.Generator().manual_seed(7)
    noise = torch.rand(4, 5, 6, 3, generator=generator) * 2 - 1
    moved = perturbed(inputs, 0.05 * noise)

    def explained(given: Tensor | tuple[Tensor]) -> Tensor | tuple[Tensor]:
        if isinstance(given, tuple):  # as captum has the inputs, but not what moved
            return (contributions(model, inputs.with_values(*given)),)
        rows = torch.arange(len(inputs)).repeat_interleave(5)
        return contributions(model, inputs.rows(rows).with_values(given))

    theirs = sensitivity_max(
        explained, inputs.values, perturb_func=lambda values: moved.values, n_perturb_samples=5
    )
    mine = found(exact, model, inputs, seed=7)
    assert mine.min() > 0
    assert torch.allclose(mine, theirs)


def test_a_linear_explanation_changes_by_what_its_vectors_do() -> None:
    # Of one slot, the explanation is its one number v: it changes by radius · |v| · |noise|.
    model, inputs = random_toy(rows=3, slots=1, seed=0, pairs=False, fixed=())
    inputs = inputs.with_present(torch.ones(3, 1, dtype=torch.bool))
    first = Saying(lambda model, inputs: inputs.values[..., 0])
    narrow = inputs.with_values(inputs.values[..., :1])
    noise = torch.rand(3, 5, 1, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sizes = found(first, model, narrow, MaxSensitivity(radius=0.2))
    assert torch.allclose(sizes, 0.2 * noise.abs().amax((1, 2, 3)).double())


def test_larger_moves_change_more_and_more_draws_no_less() -> None:
    model, inputs = random_toy(rows=4, slots=6, seed=3)
    exact = Saying(contributions)
    small = found(exact, model, inputs)
    assert (found(exact, model, inputs, MaxSensitivity(radius=0.5)) > small).all()
    assert found(exact, model, inputs, MaxSensitivity(draws=40)).mean() > small.mean()


def test_who_does_not_look_at_vectors_is_perfect_and_noise_is_not() -> None:
    model, inputs = random_toy(rows=4, slots=6, seed=3)
    assert found(factory("explainer", "recency")(), model, inputs).tolist() == [0] * 4
    calls = iter(range(99))

    def jittery(inputs: Inputs, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(next(calls))
        return torch.randn(inputs.present.shape, generator=generator)

    assert (found(Drawing(jittery), model, inputs) > 0.5).all()


def test_it_asks_for_the_first_rows_alone_and_others_are_nan() -> None:
    model, inputs = random_toy(rows=5, slots=6, seed=3)
    exact = Saying(contributions)
    sizes = found(exact, model, inputs, MaxSensitivity(rows=2, draws=3))
    assert exact.asked == 5 + 2 * 3
    assert sizes.isnan().tolist() == [False, False, True, True, True]


def test_an_explanation_of_zeros_has_no_length() -> None:
    model, inputs = random_toy(rows=2, slots=4, seed=3)
    silent = Saying(lambda model, inputs: torch.zeros(inputs.present.shape))
    assert found(silent, model, inputs).isnan().all()


def test_the_moves_follow_the_seed() -> None:
    model, inputs = random_toy(rows=4, slots=6, seed=3)
    exact = Saying(contributions)
    once = found(exact, model, inputs, seed=1)
    assert torch.equal(found(exact, model, inputs, seed=1), once)
    assert not torch.equal(found(exact, model, inputs, seed=2), once)


@pytest.mark.parametrize("options", [{"draws": 0}, {"rows": 0}, {"radius": 0.0}])
def test_bad_options(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} is 0"):
        MaxSensitivity(**options)
