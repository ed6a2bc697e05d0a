"""What explaining must leave as it found it: each raises AssertionError where it did not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender


@contextmanager
def mode_kept(model: Recommender) -> Iterator[None]:
    """Every module is in the mode that it was in; the model is left in evaluation mode.

    Within, it is in a mixture of modes, which `train` or `eval` alone would not restore.
    """
    model.train()
    for child in list(model.children())[:1]:
        child.eval()
    modes = [module.training for module in model.modules()]
    yield
    found = [module.training for module in model.modules()]
    model.eval()
    assert found == modes, "the model's mode was changed"


@contextmanager
def parameters_kept(model: Recommender) -> Iterator[None]:
    """Parameters and buffers are what they were, learn as they did, and were given no gradient."""
    learning = [parameter.requires_grad for parameter in model.parameters()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    yield
    found = [parameter.requires_grad for parameter in model.parameters()]
    assert found == learning, "parameters were left frozen, or thawed"
    assert all(p.grad is None for p in model.parameters()), "parameters were left with gradients"
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value), f"the parameter {name} was changed"


@contextmanager
def inputs_kept(inputs: Inputs) -> Iterator[None]:
    """The inputs are what they were, and ask for no gradient."""
    values, present = inputs.values.clone(), inputs.present.clone()
    yield
    assert torch.equal(inputs.values, values), "the inputs' values were changed"
    assert torch.equal(inputs.present, present), "the inputs' presence was changed"
    assert not inputs.values.requires_grad, "the inputs were left asking for a gradient"


@contextmanager
def generators_kept() -> Iterator[None]:
    """The global random generators of random, numpy and torch are where they were."""
    plain, tensors = random.getstate(), torch.get_rng_state()
    _, keys, place, *_ = np.random.get_state()
    yield
    assert random.getstate() == plain, "the generator of random was moved"
    assert torch.equal(torch.get_rng_state(), tensors), "torch's generator was moved"
    _, now, there, *_ = np.random.get_state()
    assert np.array_equal(now, keys), "numpy's generator was moved"
    assert there == place, "numpy's generator was moved"
