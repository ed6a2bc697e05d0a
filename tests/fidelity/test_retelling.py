"""Asking an explainer again."""

from __future__ import annotations

import torch

from xrec.explain.target import logit
from xrec.fidelity.retelling import Retelling, reseeded
from xrec.plugins import factory
from xrec.testing import small_model


def test_another_seed_draws_anew_and_leaves_the_first_as_it_was() -> None:
    model, inputs = small_model()
    explainer = factory("explainer", "random")(seed=3)
    first = Retelling(explainer)
    assert first.draws
    other = first.seeded(4).of(model, inputs, logit).values
    assert not torch.equal(other, first.of(model, inputs, logit).values)
    again = factory("explainer", "random")(seed=4).explain(model, inputs, logit).values
    assert torch.equal(other, again)
    assert explainer.seed == 3


def test_what_was_learned_is_kept() -> None:
    model, inputs = small_model()
    explainer = factory("explainer", "integrated_gradients")(baseline="mean", steps=4)
    explainer.fit(model, model.data_module)
    told = reseeded(explainer, 9).explain(model, inputs, logit).values
    assert torch.equal(told, explainer.explain(model, inputs, logit).values)


def test_what_draws_nothing_stays_the_same() -> None:
    explainer = factory("explainer", "recency")()
    assert not Retelling(explainer).draws
    assert reseeded(explainer, 5) is explainer
