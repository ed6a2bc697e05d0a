"""GradientSHAP against linear models, captum called directly, and what its error says."""

from __future__ import annotations

import pytest
import torch
from captum.attr import GradientShap as CaptumGradientShap
from torch import Tensor

from xrec.errors import XrecError
from xrec.explain import gradients
from xrec.explain.generators import seeded
from xrec.explain.seeds import row_seeds
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model
from xrec_plugins.explainers.gradient_shap import GradientShap


def fitted(model: Recommender, **options: object) -> GradientShap:
    explainer = GradientShap(**{"background": 6, **options})  # type: ignore[arg-type]
    explainer.fit(model, model.data_module)
    return explainer


def weighted(model: Recommender, inputs: Inputs) -> Tensor:
    """(B,) a target that is linear in the vectors."""
    weight = torch.linspace(-1, 1, inputs.values.shape[2])
    return torch.where(inputs.present[..., None], inputs.values * weight, 0).sum((1, 2))


def test_expected_differences_where_the_target_is_linear() -> None:
    model, inputs = small_model(users=4)
    explainer = fitted(model, samples=5000)  # of which the standard error is some 0.05
    told = explainer.explain(model, inputs, weighted)
    everyone, weight = explainer.fitted(), torch.linspace(-1, 1, inputs.values.shape[2])
    slots = [everyone.standing_in(inputs, torch.full((4,), user)) for user in range(6)]
    expected = ((inputs.values - torch.stack(slots).mean(0)) * weight).sum(-1)
    assert torch.allclose(told.values, torch.where(inputs.players, expected, 0), atol=0.25)
    assert torch.allclose(told.score - told.base, (expected * inputs.players).sum(1), atol=1e-4)


def test_is_what_captum_says_called_directly_of_each_rows_players() -> None:
    model, inputs = small_model(users=3)
    explainer = fitted(model, samples=7, noise=0.1, seed=2)
    told = explainer.explain(model, inputs, logit)
    for row, seed in enumerate(row_seeds(inputs, 2)):
        players = inputs.players[row]
        ones = inputs.rows(torch.full((6,), row))
        starts = explainer.fitted().standing_in(ones, torch.arange(6))[:, players]

        def scored(values: Tensor, row: int = row, players: Tensor = players) -> Tensor:
            whole = inputs.values[[row] * len(values)].clone()
            whole[:, players] = values
            return model.score(inputs.rows(torch.full((len(values),), row)).with_values(whole))

        with seeded(seed, torch.device("cpu")):
            found = CaptumGradientShap(scored).attribute(
                inputs.values[row, players][None], starts, n_samples=7, stdevs=0.1
            )
        assert torch.allclose(told.values[row, players], found[0].sum(-1), atol=1e-5)
        with torch.no_grad():
            assert float(told.base[row]) == pytest.approx(float(scored(starts).mean()), abs=1e-5)


def test_more_samples_err_less(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = small_model(users=4)
    few = fitted(model, samples=2).explain(model, inputs, logit)
    monkeypatch.setattr(gradients, "VECTORS", 50 * inputs.values[0].nbytes)  # in parts
    many = fitted(model, samples=1000).explain(model, inputs, logit)
    assert many.error.mean() < few.error.mean() / 3


def test_seeds_and_cost() -> None:
    model, inputs = small_model(users=3)
    told = fitted(model, samples=4).explain(model, inputs, logit)
    assert torch.equal(fitted(model, samples=4).explain(model, inputs, logit).values, told.values)
    other = fitted(model, samples=4)
    other.seed = 1
    assert not torch.equal(other.explain(model, inputs, logit).values, told.values)
    assert (told.cost.forward, told.cost.backward) == (3 * (4 + 6 + 1), 3 * 4)


def test_bad_options_and_what_was_not_fitted_are_refused() -> None:
    for name, value in (("samples", 0), ("noise", -1.0), ("background", 0)):
        with pytest.raises(ValueError, match=f"{name} is {value}, it must be at least"):
            GradientShap(**{name: value})  # type: ignore[arg-type]
    model, inputs = small_model()
    with pytest.raises(XrecError, match=r"call fit\(model, data\) before explain"):
        GradientShap().explain(model, inputs, logit)
