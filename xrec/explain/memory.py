"""How much memory a calculation takes, on any device, and how many rows of it fit into a bound."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_bound = ContextVar("bound", default=2**30)


def bound() -> int:
    """The bytes that masked evaluation and gradients may hold at once; 1 GiB unless `bounded`."""
    return _bound.get()


@contextmanager
def bounded(max_bytes: int) -> Iterator[None]:
    """Within, nothing that asks for the `bound` is to hold more at once."""
    before = _bound.set(max_bytes)
    try:
        yield
    finally:
        _bound.reset(before)


class Meter(TorchDispatchMode):
    """Within, counts the bytes of all tensors that are made, as long as they live.

    held: now. peak: the most at any time. Storages that tensors share are counted once. Unlike an
    allocator's own figures it works on the CPU; what a kernel takes for itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: dict[int, weakref.ref[UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Carry out one operation, and count what it gives."""
        found = func(*args, **(kwargs or {}))
        given = {_storage(each) for each in tree_leaves((args, kwargs)) if _is_tensor(each)}
        for each in tree_leaves(found):
            if _is_tensor(each) and _storage(each) not in given:
                self._count(each.untyped_storage())
        return found

    def _count(self, storage: UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def freed(_: Any) -> None:
            self.held -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, freed)
        self.held += size
        self.peak = max(self.peak, self.held)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes that the tensors which `call` makes hold at once, what it returns included."""
    with Meter() as meter:
        call()
    return meter.peak


def rows_within(max_bytes: int, peak: int) -> int:
    """How many rows fit into a bound, by the `peak_bytes` of one; 1 at least.

    As many rows take as many times the memory at most: what does not grow with them is counted with
    each.
    """
    return max(1, max_bytes // max(1, peak))
