"""A checkpoint is read back as it was written, or it is said what is wrong with it."""

from __future__ import annotations

import math
import resource
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.errors import RunError, XrecError
from xrec.runs.checkpoint import read, write

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Some types and shapes, empty and without dimensions among them, some of them views."""
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    whole = (torch.randn([2, *shape], generator=generator) * 100).to(draw(st.sampled_from(DTYPES)))
    if whole.is_floating_point():
        whole[torch.randn(whole.shape, generator=generator) > 1] = math.nan
    return draw(st.sampled_from([whole[0], whole[1], whole.T if whole.dim() == 2 else whole]))


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]))
    | tensors()
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(-9, 9), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Equal in value, type, order and bits."""
    if isinstance(a, Tensor):
        bits = [t.contiguous().reshape(-1).view(torch.uint8).tolist() for t in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and bits[0] == bits[1]
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        keys = [(type(k), k) for k in a] == [(type(k), k) for k in b]
        return keys and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)  # NaN is NaN, and -0.0 is not 0.0


@settings(max_examples=200, deadline=None)
@given(tree=st.dictionaries(st.text(max_size=3), TREES, max_size=4))
def test_any_tree_is_read_back_exactly(tmp_path_factory: Any, tree: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("tree") / "c.safetensors"
    write(tree, path)
    assert same(read(path), tree)


def test_tensors_that_share_memory_are_kept_apart(tmp_path: Path) -> None:
    one = torch.arange(6.0)
    write({"whole": one, "again": one, "part": one[2:4], "folded": one.view(2, 3)}, tmp_path / "c")
    found = read(tmp_path / "c")
    found["whole"].zero_()
    assert found["again"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["part"].tolist() == [2, 3]
    assert found["folded"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_ordered_dict_is_read_as_a_dict(tmp_path: Path) -> None:
    write({"a": OrderedDict(b=1, a=2)}, tmp_path / "c")
    found = read(tmp_path / "c")["a"]
    assert (type(found), list(found)) == (dict, ["b", "a"])


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"callbacks": {"Mine": [1, {2}]}}, "callbacks.Mine.1 is a set"),
        ({"a": {"b": np.float64(1)}}, "a.b is a float64"),
        ({"a": {(1, 2): 3}}, "a is a dict"),
        ({"a": torch.ones(2).to_sparse()}, "a is a Tensor"),
    ],
)
def test_anything_else_is_refused_by_its_place(tmp_path: Path, tree: Any, words: str) -> None:
    with pytest.raises(RunError) as raised:
        write(tree, tmp_path / "c")
    assert str(raised.value) == (
        f"where training is cannot be written: {words}, and a checkpoint holds numbers, strings, "
        "tensors, and lists, tuples and dicts of them; train.checkpoint=0 goes without checkpoints"
    )
    assert not list(tmp_path.iterdir())


def test_what_is_not_as_it_was_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "c"
    write({"a": torch.arange(100.0), "b": [1, 2, 3]}, path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at])
        with pytest.raises(RunError, match=f"checkpoint {path} "):
            read(path)
    for at in range(8, len(whole), 7):  # flip a bit; the first eight bytes are the header's length
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RunError, match=f"checkpoint {path} "):
            read(path)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "c"
    write({"a": torch.zeros(10)}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(XrecError, match=f"the disk is full: {path} was not written"):
            write({"a": torch.zeros(10_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read(path)["a"].shape == (10,)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
