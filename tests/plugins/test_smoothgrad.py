"""SmoothGrad against linear models, captum called directly, and an average by hand."""

from __future__ import annotations

import pytest
import torch
from captum.attr import NoiseTunnel
from captum.attr import Saliency as CaptumSaliency
from explain.toys import random_toy
from torch import Tensor

from xrec.explain import gradients
from xrec.explain.generators import seeded
from xrec.explain.seeds import row_seeds
from xrec.explain.target import logit
from xrec.testing import small_model
from xrec_plugins.explainers.smoothgrad import SmoothGrad


def test_noise_changes_nothing_where_the_model_is_linear() -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=1, pairs=False)
    told = SmoothGrad(samples=3, noise=2.0).explain(model, inputs, logit)
    steep = model.weight.detach().abs().sum(-1)
    assert torch.allclose(told.values, torch.where(inputs.players, steep, 0))


def test_is_what_captum_says_called_directly_of_each_rows_players() -> None:
    model, inputs = small_model(users=3)
    told = SmoothGrad(samples=7, noise=0.3, seed=4).explain(model, inputs, logit)
    for row, seed in enumerate(row_seeds(inputs, 4)):
        players = inputs.players[row]
        vectors = inputs.values[row, players][None]

        def scored(values: Tensor, row: int = row, players: Tensor = players) -> Tensor:
            whole = inputs.values[[row] * len(values)].clone()
            whole[:, players] = values
            return model.score(inputs.rows(torch.full((len(values),), row)).with_values(whole))

        spread = 0.3 * float(vectors.max() - vectors.min())
        with seeded(seed, torch.device("cpu")):
            found = NoiseTunnel(CaptumSaliency(scored)).attribute(
                vectors, nt_samples=7, stdevs=spread, abs=False
            )
        assert torch.allclose(told.values[row, players], found[0].abs().sum(-1), atol=1e-5)


def test_seeds_and_samples() -> None:
    model, inputs = small_model(users=3)
    values = SmoothGrad(samples=4).explain(model, inputs, logit).values
    assert torch.equal(SmoothGrad(samples=4).explain(model, inputs, logit).values, values)
    assert not torch.equal(
        SmoothGrad(samples=4, seed=1).explain(model, inputs, logit).values, values
    )
    told = SmoothGrad(samples=4).explain(model, inputs, logit)
    assert (told.cost.forward, told.cost.backward) == (3 * (4 + 2), 3 * 4)


def test_memory_bounds_the_samples_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = random_toy(rows=3, slots=5, seed=1, pairs=False)
    monkeypatch.setattr(gradients, "VECTORS", 1)
    told = SmoothGrad(samples=3).explain(model, inputs, logit)
    steep = model.weight.detach().abs().sum(-1)
    assert torch.allclose(told.values, torch.where(inputs.players, steep, 0))


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="samples is 0, it must be at least 1"):
        SmoothGrad(samples=0)
    with pytest.raises(ValueError, match="noise is 0, it must be above 0"):
        SmoothGrad(noise=0)
