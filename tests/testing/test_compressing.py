"""The check of compressors passes those that keep the contract, and says what others break."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from xrec.testing import check_compressor, small_data, small_model


@dataclass(frozen=True)
class Coarse:
    step: float = 0.01

    def compress(self, model, data, tell):
        for parameter in model.parameters():
            parameter.data = (parameter.data / self.step).round() * self.step
        return model


@dataclass(frozen=True)
class Forgotten(Coarse):
    """Reshapes, and does not say so."""

    def compress(self, model, data, tell):
        model.layers = model.layers[:1]
        return model


@dataclass(frozen=True)
class Secret(Coarse):
    """Keeps what matters out of the state."""

    def compress(self, model, data, tell):
        model.query = nn.Parameter(model.query + 1)
        model.register_buffer("hidden", model.query.detach().clone(), persistent=False)
        run = model._run
        model._run = lambda values, *rest, **given: run(values + 1, *rest, **given)
        return model


@dataclass(frozen=True)
class Leaking(Coarse):
    """Scores depend on who else is in the batch."""

    def compress(self, model, data, tell):
        score = model.score
        model.score = lambda inputs, task=0: score(inputs, task) + len(inputs)
        return model


@dataclass(frozen=True)
class Attached(Coarse):
    """A twin that is not apart from the model."""

    def twin(self, model):
        return copy.copy(model)


@pytest.fixture(scope="module")
def world():
    return small_model()[0], small_data()


def test_one_that_keeps_the_contract_passes(world) -> None:
    made = check_compressor(Coarse(), *world)
    steps = made.query.detach() / Coarse.step
    assert torch.allclose(steps, steps.round(), atol=1e-3)


@pytest.mark.parametrize(
    ("compressor", "words"),
    [
        (Forgotten(), "it does not fit its model: layers"),
        (Secret(), "read back from its state, it scores otherwise"),
        (Leaking(), "who else is in the batch changes the score|forward"),
        (Attached(), "the twin shares"),
    ],
)
def test_one_that_breaks_it_is_told_how(world, compressor, words: str) -> None:
    with pytest.raises(Exception, match=words):
        check_compressor(compressor, *world)
