"""What a model holds as plain tensors: weights of parts, put back, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor

from xrec.compress.state import flat, size
from xrec.compress.state import load as put
from xrec.errors import RunError


def _of_parts(seed: int = 0) -> nn.Module:
    """A layer whose weight is of two tensors, the second of two again, and a table of int8."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 3), nn.Embedding(5, 4))
    inner = TwoTensor(torch.randn(3, 4), torch.randn(3, 4))
    module[0].weight = nn.Parameter(TwoTensor(torch.randn(3, 4), inner))
    module.register_buffer("counts", torch.randint(9, (2,)))
    return module


def test_parts_have_names_of_their_own_and_share_memory_with_the_model() -> None:
    module = _of_parts()
    found = flat(module)
    assert list(found) == [
        "counts",
        "0.weight.a",
        "0.weight.b.a",
        "0.weight.b.b",
        "0.bias",
        "1.weight",
    ]
    assert found["0.weight.b.a"].data_ptr() == module[0].weight.b.a.data_ptr()
    assert size(module) == {
        "parameters": 12 + 3 + 20,
        "bytes": 4 * (3 * 12 + 3 + 20) + 8 * 2,
    }


def test_what_was_written_is_put_back_part_by_part() -> None:
    module, other = _of_parts(0), _of_parts(1)
    held = other[0].weight
    put(other, load(save({n: t.contiguous() for n, t in flat(module).items()})), "here")
    assert other[0].weight is held
    for (name, one), two in zip(flat(module).items(), flat(other).values(), strict=True):
        assert one.equal(two), name
        assert one.data_ptr() != two.data_ptr()


def test_parts_that_do_not_fit_are_named() -> None:
    module = _of_parts()
    state = {name: tensor.clone() for name, tensor in flat(module).items()}
    plain = nn.Sequential(nn.Linear(4, 3), nn.Embedding(5, 4))
    plain.register_buffer("counts", torch.zeros(2, dtype=torch.long))
    with pytest.raises(RunError, match=r"^here does not fit its model: 0.weight\S* is in one of"):
        put(plain, state, "here")
    wrong = {**state, "0.weight.b.b": state["0.weight.b.b"].half()}
    words = r"0.weight.b.b is torch.float16 \(3, 4\), not torch.float32 \(3, 4\)"
    with pytest.raises(RunError, match=words):
        put(module, wrong, "here")


def test_integers_of_torchao_come_without_the_parts_that_they_lack() -> None:
    quantization = pytest.importorskip("torchao.quantization")
    layer, other = nn.Linear(8, 3), nn.Linear(8, 3)
    config = quantization.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
    for each in (layer, other):
        quantization.quantize_(each, config)
    kinds = {name: (part.dtype, tuple(part.shape)) for name, part in flat(layer).items()}
    assert kinds == {
        "weight.qdata": (torch.int8, (3, 8)),
        "weight.scale": (torch.float32, (3, 1)),
        "weight.zero_point": (torch.int8, (3, 1)),
        "bias": (torch.float32, (3,)),
    }
    assert size(layer) == {"parameters": 27, "bytes": 24 + 3 * 4 + 3 + 3 * 4}
    put(other, {name: part.clone() for name, part in flat(layer).items()}, "here")
    values = torch.randn(2, 8)
    assert other(values).equal(layer(values))
