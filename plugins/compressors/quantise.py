"""Weights as integers of eight or four bits, by torchao."""

from __future__ import annotations

import copy
import difflib
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from transformers.pytorch_utils import Conv1D

from xrec import hookimpl
from xrec.compress.compressor import Tell
from xrec.data.module import Data
from xrec.errors import XrecError, nearest
from xrec.models.language import LanguageModel
from xrec.models.recommender import Recommender
from xrec.models.slope import Slope

silenced = logging.root.manager.disable
logging.disable(logging.WARNING)  # torchao warns of its kernels for other devices than there are
try:
    from torchao.quantization import (
        Int8DynamicActivationInt8WeightConfig,
        Int8Tensor,
        Int8WeightOnlyConfig,
        quantize_,
    )

    from xrec_plugins.compressors.rounded import Int4, Int8, Rounded, StraightThrough, made_float
finally:
    logging.disable(silenced)

FORMS = ("int8", "int8_dynamic", "int4")


@dataclass(frozen=True)
class Quantise:
    """Options.

    to: "int8", weights as integers with a scale for each row, made float32 to be multiplied with;
        "int8_dynamic", values too, with a scale for each token, so that integers are multiplied,
        which is quicker, and input gradients are lost; "int4", weights of half a byte, with a scale
        and a zero for each group of a row, made float32 to be multiplied with.
    group_size: of int4.
    embeddings: round embedding tables too, to rows of int8 with a scale each.
    only: names of modules, or patterns of them ("language.*.query"), to round these and all that is
        within them, and nothing else; everything, if there is none.
    compile: compile the model's layers when they are first used, which takes a minute or so; where
        a gradient is wanted they are not.
    straight_through: of int8_dynamic, let gradients through as if values were not rounded.
    """

    learns: ClassVar[bool] = False

    to: str = "int8"
    group_size: int = 32
    embeddings: bool = True
    only: list[str] = field(default_factory=list)
    compile: bool = False
    straight_through: bool = False

    def __post_init__(self) -> None:
        if self.to not in FORMS:
            raise ValueError(f"to is '{self.to}': {nearest(self.to, FORMS)}")
        if self.group_size < 2 or self.group_size % 2:
            raise ValueError(f"group_size is {self.group_size}, it must be even, and at least 2")
        if self.straight_through and self.to != "int8_dynamic":
            raise ValueError(
                f"straight_through is for int8_dynamic: {self.to} has true gradients as it is"
            )

    def compress(self, model: Recommender, data: Data, tell: Tell) -> Recommender:
        """Round the weights of `model`.

        Raises XrecError: `only` names what is not there, a group does not fit, or this machine
        cannot compute or compile it.
        """
        names = self._chosen(model)
        tell(f"  {len(names)} modules are rounded to {self.to}")
        made = self.shaped(model, {"modules": names})
        made.slope = Slope(straight_through=self.straight_through)
        return made

    def form(self, model: Recommender) -> dict[str, Any]:
        """The modules whose weights are rounded."""
        return {"modules": [n for n, m in model.named_modules() if _is_rounded(m)]}

    def shaped(self, model: Recommender, form: Mapping[str, Any]) -> Recommender:
        """`model` with the same modules rounded; an earlier step may have rounded some of them.

        Raises XrecError: this machine cannot compute or compile it.
        """
        self._check_kernel(model.device)
        for name in form["modules"]:
            module = model.get_submodule(name)
            if isinstance(module, Conv1D):
                module = _as_linear(module)
                model.set_submodule(name, module)
            if not _is_rounded(module):
                module.weight = nn.Parameter(self._rounded(module), requires_grad=False)
        if self.compile:
            _compile(model)
        return model

    def twin(self, model: Recommender) -> Recommender:
        """A copy with the numbers that the integers stand for, uncompiled."""
        twin = copy.deepcopy(model)
        made_float(twin)
        return twin

    def _chosen(self, model: Recommender) -> list[str]:
        """The names of the modules to round. Raises XrecError as `compress` does."""
        found = {n: m for n, m in model.named_modules() if self._may(m) and not _is_rounded(m)}
        for each in self.only:
            if not any(_within(name, each) for name in found):
                raise XrecError(
                    f"quantise.only: the model {type(model).__name__} has nothing to round in "
                    f"'{each}': {_nearest(each, found)}"
                )
        only = self.only or ["*"]
        chosen = {n: m for n, m in found.items() if any(_within(n, each) for each in only)}
        if not chosen:
            raise XrecError(
                f"quantise: the model {type(model).__name__} has no weights that may be rounded: "
                "take the step out of compress"
            )
        if self.to == "int4":
            self._check_groups(chosen)
        return list(chosen)

    def _may(self, module: nn.Module) -> bool:
        """Whether a module's weight may be rounded; a scale for each number would save nothing."""
        if isinstance(module, nn.Linear | Conv1D | nn.Embedding) and _width(module) == 1:
            return False
        if isinstance(module, nn.Embedding):
            return self.embeddings and module.max_norm is None  # which rewrites rows as it reads
        linear = isinstance(module, nn.Linear | Conv1D)
        return linear and not isinstance(module, NonDynamicallyQuantizableLinear)

    def _check_groups(self, modules: Mapping[str, nn.Module]) -> None:
        """Raise XrecError for a layer whose width the group size does not divide."""
        wide = {n: _width(m) for n, m in modules.items() if not isinstance(m, nn.Embedding)}
        for name, width in wide.items():
            if width % self.group_size:
                common = math.gcd(self.group_size, *wide.values())
                fits = f"make it {common}" if common > 2 and common % 2 == 0 else "choose int8"
                raise XrecError(
                    f"quantise.group_size: {self.group_size} does not divide the width {width} of "
                    f"'{name}': {fits}, or leave that out of quantise.only"
                )

    def _check_kernel(self, device: torch.device) -> None:
        """Raise XrecError if a device cannot multiply with weights of this form."""
        layer = nn.Linear(self.group_size, 32, bias=False, device="meta")
        layer.weight = nn.Parameter(torch.ones(32, self.group_size, device=device))
        layer.weight = nn.Parameter(self._rounded(layer), requires_grad=False)
        try:
            layer(torch.zeros(32, self.group_size, device=device))
        except (NotImplementedError, RuntimeError) as error:
            others = " or ".join(form for form in FORMS if form != self.to)
            said = str(error).splitlines()[0]
            raise XrecError(
                f"quantise.to: {device.type} cannot multiply with {self.to} ({said}): choose "
                f"{others}"
            ) from error

    def _rounded(self, module: nn.Module) -> Rounded:
        """What takes the place of a module's weight."""
        if isinstance(module, nn.Embedding):
            return Int8.of(_by_torchao(module, Int8WeightOnlyConfig))
        if self.to == "int4":
            return Int4.of(_weight(module).detach(), self.group_size)
        if self.to == "int8":
            return Int8.of(_by_torchao(module, Int8WeightOnlyConfig))
        kind = StraightThrough if self.straight_through else Int8
        return kind.of(_by_torchao(module, Int8DynamicActivationInt8WeightConfig))


# Modules


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def _is_rounded(module: nn.Module) -> bool:
    return isinstance(getattr(module, "weight", None), Rounded)


def _width(module: nn.Module) -> int:
    """Of the rows of a linear layer's weight; a `Conv1D` has them as columns."""
    return _weight(module).shape[0 if isinstance(module, Conv1D) else 1]


def _as_linear(module: Conv1D) -> nn.Linear:
    """The layer that multiplies as GPT-2's do, with the weight the other way round."""
    inside, outside = module.weight.shape
    made = nn.Linear(inside, outside, device="meta").train(module.training)
    made.weight = nn.Parameter(module.weight.detach().T.contiguous(), module.weight.requires_grad)
    made.bias = module.bias
    return made


def _by_torchao(module: nn.Module, config: Any) -> Int8Tensor:
    """A module's weight as torchao rounds it, without a change of inductor's settings."""
    quantize_(module, config(set_inductor_config=False), lambda *_: True)
    weight = _weight(module).detach()
    assert isinstance(weight, Int8Tensor)
    return weight


# Names


def _within(name: str, pattern: str) -> bool:
    """Whether a module, or one that it is in, is called so."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def _nearest(pattern: str, names: Iterable[str]) -> str:
    """A clause on what there is: the nearest of modules and what they are in, or the outermost."""
    parts = [name.split(".") for name in names]
    known = {".".join(each[:end]) for each in parts for end in range(1, len(each) + 1)}
    close = difflib.get_close_matches(pattern, known, n=1, cutoff=0.5)
    return nearest(pattern, close or {each[0] for each in parts})


# What the machine can do


def _compile(model: Recommender) -> None:
    """Let the layers be compiled when they are first used. Raises XrecError as `compress` does."""
    layers = dict.fromkeys(layer for m in model.modules() for layer in _layers(m))
    if not layers:
        raise XrecError(
            f"quantise.compile: the model {type(model).__name__} names no layers to compile: set "
            "it to false"
        )
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=model.device))
    except TorchDynamoException as error:
        said = str(error).splitlines()[0]
        raise XrecError(
            f"quantise.compile: this machine cannot compile ({said}): install a C++ compiler, such "
            "as g++, or set it to false"
        ) from error
    for layer in layers:
        _compile_without_gradient(layer)


def _compile_without_gradient(layer: nn.Module) -> None:
    """Let a layer be compiled for calls that need no gradient.

    A backward pass takes minutes to compile, and would be of what the compiler makes of rounding.
    It takes the place of `Module.compile`'s own, which copies of the module go without. The layer
    learns no more: explainers see to that, and would find no code for it if it had learned before.
    """
    layer.requires_grad_(False)
    layer.compile(dynamic=True)
    compiled = layer._compiled_call_impl
    assert compiled is not None

    def call(*given: Any, **named: Any) -> Any:
        return (layer._call_impl if torch.is_grad_enabled() else compiled)(*given, **named)

    layer._compiled_call_impl = call


def _layers(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, Recommender):
        return list(module.layers_read)
    return module.layers if isinstance(module, LanguageModel) else []


@hookimpl
def xrec_compressors() -> dict[str, type]:
    """Offer quantisation."""
    return {"quantise": Quantise}
