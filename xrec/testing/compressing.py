"""What a compressor keeps: a check that its author runs."""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from torch import Tensor

from xrec.compress.chain import rebuilt, take
from xrec.compress.compressor import Compressor, Rounding
from xrec.compress.state import flat
from xrec.data.module import Data
from xrec.files import save_tensors
from xrec.models.recommender import Recommender
from xrec.testing.conformance import check_model

TOLERANCE = 1e-4  # of a logit, in float32


def check_compressor(
    compressor: Compressor, model: Recommender, data: Data, tolerance: float = TOLERANCE
) -> Recommender:
    """A compressor keeps its contract with a model; returns what it makes of it.

    That is a recommender that keeps the contract of one (`check_model`, to a tolerance, as rounded
    numbers cannot be had in double precision). Its state is plain tensors, and read back from a
    file into a copy of the model as it was they score the same to the last bit. A twin is apart
    from the model, in float32, and has gradients.
    """
    before = copy.deepcopy(model)
    before.settle()
    batch = data.queries("test")
    found = take(compressor, before.eval(), data, lambda text: None)
    made = found.model
    assert isinstance(made, Recommender), "what it gives is no recommender"
    check_model(made, batch, tolerance)
    again = rebuilt(copy.deepcopy(model), [(compressor, found.told())], _through_a_file(made), "it")
    with torch.no_grad():
        assert again(batch).equal(made(batch)), "read back from its state, it scores otherwise"
    assert again.slope == made.slope, "read back from its state, its gradients are told otherwise"
    if isinstance(compressor, Rounding):
        _check_twin(compressor.twin(made), made)
    return made


def _through_a_file(model: Recommender) -> dict[str, Tensor]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        save_tensors({name: each.contiguous() for name, each in flat(model).items()}, path)
        return load_file(path)


def _check_twin(twin: Recommender, model: Recommender) -> None:
    kinds = {each.dtype for each in twin.parameters() if each.is_floating_point()}
    assert kinds <= {torch.float32}, f"the twin is not in float32 alone, but has {kinds}"
    own = {each.data_ptr() for each in flat(model).values()}
    shared = [name for name, each in flat(twin).items() if each.data_ptr() in own and each.numel()]
    assert not shared, f"the twin shares {shared[0]} with the model" if shared else ""
