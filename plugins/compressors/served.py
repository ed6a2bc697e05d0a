"""Modules that ONNX Runtime computes, on the processor, and PyTorch where a gradient is asked for.

The weights are those in the graph alone, an ONNX file kept as a tensor of bytes: it is quick to
load, the same on every machine, and saved as any other tensor. To write it anew from other weights
would take longer than to load it, and exporters change.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from xrec.errors import XrecError
from xrec_plugins.compressors.graphs import held, weights


class Served(nn.Module):
    """A module, computed by its graph (bytes,) uint8.

    `beside` is the module in PyTorch, with the weights of the graph: it gives the gradients, if
    they may go `through`, and what the graph does not tell. It is no part of what is saved. What a
    module reads of its own beside the graph, `kept`, is.
    """

    graph: Tensor

    def __init__(
        self, module: nn.Module, graph: Tensor, through: bool, kept: Mapping[str, nn.Module]
    ) -> None:
        super().__init__()
        self.register_buffer("graph", graph)
        self.kept, self.through = nn.ModuleDict(dict(kept)), through
        self._unseen = (module.eval(),)  # not a part, to what walks over modules

    def settle(self) -> None:
        """Raises XrecError: the weights are in the graph, and stay."""
        raise XrecError(
            "onnx is the form that a model is served in, and its weights are fixed: let it be the "
            "last step of compress"
        )

    def _apply(self, fn: Any, recurse: bool = True) -> Served:
        """Move what is unseen along."""
        self._module._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    @property
    def _module(self) -> Any:
        return self._unseen[0]

    def __getstate__(self) -> dict[str, Any]:
        """Without what a copy makes for itself."""
        made = ("session", "held", "beside")
        return {name: value for name, value in vars(self).items() if name not in made}

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The graph, loaded."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            self._file,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["SkipLayerNormFusion"],  # it makes MiniLM in int8 a fifth slower
        )

    @property
    def _file(self) -> bytes:
        return self.graph.cpu().numpy().tobytes()

    @cached_property
    def held(self) -> int:
        """How many parameters the graph has."""
        return held(self._file)

    @cached_property
    def beside(self) -> nn.Module:
        """The module in PyTorch; what neither it nor the graph reads is NaN, and cannot be read."""
        own = {id(parameter) for each in self.kept.values() for parameter in each.parameters()}
        found, nothing = weights(self._file), torch.tensor(torch.nan)
        for name, parameter in self._module.named_parameters():
            if id(parameter) not in own:
                value = found.get(name, nothing).to(parameter)
                parameter.data = value.expand_as(parameter).clone()
        module: nn.Module = self._module
        return module

    def compute(self, given: Mapping[str, Tensor]) -> list[Tensor]:
        """What the graph gives, float32, for tensors by the names of its inputs.

        Raises XrecError where it is traced, as its numbers come from outside of PyTorch.
        """
        if torch.compiler.is_exporting():
            raise XrecError("it holds graphs of ONNX Runtime already, which cannot be traced")
        wanted = {name: _number(tensor) for name, tensor in given.items()}
        return [torch.from_numpy(each) for each in self.session.run(None, wanted)]

    def joined(self, said: Tensor, like: Tensor) -> Tensor:
        """What the graph said, with the gradient that PyTorch's has, if that may go through."""
        joined: Tensor = _StraightThrough.apply(said, like) if self.through else said
        return joined


def _number(tensor: Tensor) -> Any:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()


class _StraightThrough(torch.autograd.Function):
    """One tensor's values with the gradient of another (Bengio et al., 2013)."""

    @staticmethod
    def forward(ctx: Any, said: Tensor, like: Tensor) -> Tensor:
        """`said`, of the shape of `like`."""
        return said.to(like, copy=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        """All to `like`."""
        return None, gradient


class ServedTransformer(Served):
    """A language model's transformer, called as `transformers` calls it.

    The graph reads one text at a time, and only the tokens that are there: so a text's states are
    the same to the bit whatever else is read with it, and whatever of it is absent, which by int8
    they would not be, as all that is read at once is rounded in the same steps. Texts that come as
    token ids go by PyTorch.
    """

    @property
    def config(self) -> Any:
        """The transformer's."""
        return self._module.config

    def get_input_embeddings(self) -> nn.Module:
        """The table of word vectors, which is beside the graph."""
        return self.kept["words"]

    def set_attn_implementation(self, name: str) -> None:
        """How PyTorch computes attention."""
        self._module.set_attn_implementation(name)

    def forward(self, **given: Any) -> Any:
        """What the transformer gives; `last_hidden_state` is the graph's."""
        if "inputs_embeds" not in given:
            return self.beside(**given)
        vectors, states = given["inputs_embeds"], self._states(given)
        more = given.get("output_attentions") or given.get("output_hidden_states")
        sloped = self.through and torch.is_grad_enabled() and vectors.requires_grad
        if not more and not sloped:
            return BaseModelOutput(last_hidden_state=states.to(vectors))
        told = self.beside(**given)
        told.last_hidden_state = self.joined(states, told.last_hidden_state)
        if told.hidden_states is not None:
            told.hidden_states = (*told.hidden_states[:-1], told.last_hidden_state)
        return told

    def _states(self, given: Mapping[str, Any]) -> Tensor:
        """(B, T, E) of the tokens that are there; 0 of the others."""
        wanted = {each.name: given[each.name] for each in self.session.get_inputs()}
        present = given["attention_mask"].bool()
        states = torch.zeros(*present.shape, self.config.hidden_size, device=present.device)
        for row, here in enumerate(present):
            if here.any():
                (found,) = self.compute(
                    {n: each[row : row + 1, here] for n, each in wanted.items()}
                )
                states[row, here] = found[0].to(states)
        return states


class ServedLayer(Served):
    """A layer of the sequential model, called as that calls it.

    The graph reads all slots that there are, and one query: what training asks, several queries at
    once, goes by PyTorch.
    """

    def forward(
        self, hidden: Tensor, allowed: Tensor, distance: Tensor, start: int
    ) -> tuple[Tensor, Tensor]:
        """As `Layer` has it; where a gradient is asked for the attention is PyTorch's."""
        if distance.shape[0] != distance.shape[1]:
            found: tuple[Tensor, Tensor] = self.beside(hidden, allowed, distance, start)
            return found
        given = {"hidden": hidden, "allowed": allowed, "distance": distance}
        states, maps = (each.to(hidden) for each in self.compute(given))
        states, maps = states[:, start:], maps[:, :, start:]
        if not torch.is_grad_enabled():
            return states, maps
        like, maps = self.beside(hidden, allowed, distance, start)
        return self.joined(states, like), maps
