"""Weights rounded to integers, kept as these, which layers multiply with and look up rows in."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map_only
from torchao.quantization import Int8Tensor, MappingType, choose_qparams_affine, quantize_affine
from torchao.utils import TorchAOBaseTensor

aten = torch.ops.aten
#: What is done with the integers and scales; for all else the numbers they stand for are taken.
OWN = {
    *(aten.linear.default, aten.embedding.default),
    *(aten.detach.default, aten.clone.default, aten.alias.default, aten.contiguous.default),
    *(aten._to_copy.default, aten.to.dtype_layout),
}
LOWEST, HIGHEST = -8, 7  # of four bits


class Rounded(TorchAOBaseTensor):
    """A weight (N, K) that is kept as integers with scales.

    A model may read it in ways that integers are not made for, as when it adds a table to its
    values: it is then given the numbers that they stand for. It never learns, whatever is asked of
    it, so that a gradient can be had of the rest of the model and that be trained on.
    """

    def dequantize(self) -> Tensor:
        """(N, K) the numbers that it stands for."""
        raise NotImplementedError

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.linear:  # torchao looks for a bias by its place alone
            args, kwargs = _of_linear(*args, **(kwargs or {})), {}
        elif func is Tensor.requires_grad_:
            args, kwargs = (args[0], False), {}
        elif func is Tensor.detach and torch.is_inference_mode_enabled():
            with torch.inference_mode(False):  # in which torch cannot detach a tensor of parts
                return super().__torch_function__(func, types, args, kwargs or {})
        return super().__torch_function__(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = func in OWN and func in cls._ATEN_OP_TABLE[cls]
        if known or func._schema.is_mutable:
            return super().__torch_dispatch__(func, types, args, kwargs or {})
        plain = tree_map_only(Rounded, lambda each: each.dequantize(), (args, kwargs or {}))
        return func(*plain[0], **plain[1])

    def _stable_hash_for_caching(self) -> str:
        """What torch.compile keeps its code by: all that is known of the weight but its numbers."""
        names, rest = self.__tensor_flatten__()
        parts = [(n, p.shape, p.stride(), p.dtype) for n in names for p in [getattr(self, n)]]
        known = (type(self).__qualname__, self.requires_grad, self.device, parts, rest)
        return sha256(repr(known).encode()).hexdigest()


@Rounded.implements(aten._to_copy.default)
def _(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Rounded:
    """Elsewhere, or standing for numbers of another kind; the parts stay of their kinds."""
    (weight,) = args
    names, rest = weight.__tensor_flatten__()
    device = kwargs.get("device") or weight.device
    parts = {name: getattr(weight, name).to(device, copy=True) for name in names}
    rest = {**rest, "dtype": kwargs.get("dtype") or weight.dtype}
    made: Rounded = type(weight).__tensor_unflatten__(parts, rest, weight.size(), weight.stride())
    return made


class Int8(Int8Tensor, Rounded):
    """Rows of int8 with a scale each, as torchao makes and multiplies them."""

    @classmethod
    def of(cls, weight: Int8Tensor) -> Self:
        """The same as `weight`, whose memory it shares."""
        names, rest = weight.__tensor_flatten__()
        parts = {name: getattr(weight, name) for name in names}
        made: Self = cls.__tensor_unflatten__(parts, rest, weight.size(), weight.stride())
        return made

    def dequantize(self, output_dtype: torch.dtype | None = None) -> Tensor:
        """(N, K) the numbers that it stands for."""
        return _numbers(self.qdata, self.scale, output_dtype or self.dtype)


@Int8.implements(aten.embedding.default)
def _(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Rows alone are made numbers; torchao would make the whole table so for each look-up."""
    weight, ids = args[:2]
    return _numbers(weight.qdata[ids], weight.scale[ids], weight.dtype)


def _numbers(integers: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return integers.to(dtype) * scale.to(dtype)


class StraightThrough(Int8):
    """One that lets gradients through as if values were not rounded before they are multiplied.

    What a layer gives is what it gave; its gradient is that of the same weight in float32 (the
    straight-through estimator: Bengio et al., 2013, "Estimating or propagating gradients through
    stochastic neurons").
    """

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.linear and torch.is_grad_enabled():
            values, weight, bias = _of_linear(*args, **(kwargs or {}))
            if values.requires_grad:
                said: Tensor = _Through.apply(values, weight)
                return said if bias is None else said + bias
        return super().__torch_function__(func, types, args, kwargs)


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        return functional.linear(values, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.weight.dequantize(), None


def _of_linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    return input, weight, bias


class Int4(Rounded):
    """Four bits a number, two numbers a byte, in groups along a row.

    packed (N, K / 2) uint8: the first number of each two in the lower half. scale (N, K / G)
    bfloat16 and zero (N, K / G) int8: of groups of G numbers, which are (number - zero) · scale.

    torchao's own int4 multiplies on GPUs alone, but for one that has four bits packed as this CPU
    likes it, which another could not read. Here they are made float32 to be multiplied with, which
    any device can, and takes a little longer than float32 does.
    """

    tensor_data_names: list[str] = ["packed", "scale", "zero"]  # noqa: RUF012  as torchao wants it
    tensor_attribute_names: list[str] = ["dtype"]  # noqa: RUF012

    packed: Tensor
    scale: Tensor
    zero: Tensor

    @staticmethod
    def __new__(cls, packed: Tensor, scale: Tensor, zero: Tensor, dtype: torch.dtype) -> Self:
        """A tensor of the shape of what the parts stand for."""
        size = (len(packed), 2 * packed.shape[1])
        made: Self = Tensor._make_wrapper_subclass(cls, size, dtype=dtype, device=packed.device)
        return made

    def __init__(self, packed: Tensor, scale: Tensor, zero: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.packed, self.scale, self.zero = packed, scale, zero

    @classmethod
    def of(cls, weight: Tensor, group: int) -> Self:
        """A weight (N, K) rounded in groups of `group`, which is even and divides K."""
        block, bounds = (1, group), (LOWEST, HIGHEST)
        scale, zero = choose_qparams_affine(
            weight,
            MappingType.ASYMMETRIC,
            block,
            torch.int8,
            *bounds,
            scale_dtype=torch.bfloat16,
            zero_point_dtype=torch.int8,
            keepdim=True,
        )
        whole = quantize_affine(weight, block, scale, zero, torch.int8, *bounds)
        low, high = (whole - LOWEST).to(torch.uint8).unflatten(1, (-1, 2)).unbind(-1)
        return cls(low | high << 4, scale, zero, weight.dtype)

    def dequantize(self) -> Tensor:
        """(N, K) the numbers that it stands for."""
        whole = torch.stack([self.packed & 15, self.packed >> 4], dim=-1).flatten(1)
        grouped = whole.to(self.dtype).unflatten(1, (self.scale.shape[1], -1))
        lowest, scale = (LOWEST - self.zero.to(self.dtype)), self.scale.to(self.dtype)
        return ((grouped + lowest[..., None]) * scale[..., None]).flatten(1)


def made_float(module: nn.Module) -> None:
    """Put what rounded weights stand for in their place, in a module and all within it."""
    for each in module.modules():
        for name, weight in each.named_parameters(recurse=False):
            if isinstance(weight, Rounded):
                plain = nn.Parameter(weight.detach().dequantize(), weight.requires_grad)
                setattr(each, name, plain)
