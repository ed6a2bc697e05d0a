"""ONNX Runtime as the form that a model is served in: its transformers, in float32 or int8."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xrec import hookimpl, plugins
from xrec.compress.compressor import Tell
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.models.language import LanguageModel, eager
from xrec.models.recommender import Recommender
from xrec.models.slope import Slope
from xrec_plugins.compressors.rounded_table import RoundedTable
from xrec_plugins.compressors.seen import observe
from xrec_plugins.compressors.smoothed import maps, smooth
from xrec_plugins.models.sequential import Layer

try:
    import onnx  # noqa: F401  the three are one extra
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401
except ModuleNotFoundError as error:
    raise plugins.lacking("compressor 'onnx'", error, extra="onnx") from error

from xrec.export.onnx import cause
from xrec_plugins.compressors.graphs import written
from xrec_plugins.compressors.served import Served, ServedLayer, ServedTransformer

#: The largest difference of a logit; of int8, over the standard deviation of the logits.
TOLERANCES = {"fp32": 1e-4, "int8": 0.5}
ROWS = 32  # validation queries that are compared, whole and with half of their features
ANY = torch.export.Dim.DYNAMIC


@dataclass(frozen=True)
class Onnx:
    """What of a model is dear, computed by ONNX Runtime: the last step of a chain.

    These are the transformers of language models, and the layers of sequential models, those always
    in float32. Gradients and attention maps are computed by PyTorch, with the same weights.

    Options: precision, "fp32" or "int8": word vectors a row at a time, weights a column at a time,
    and what they are multiplied with as it comes, evened out before by how large it was on training
    batches; tolerance, the largest difference of a logit from the model's before, on validation
    queries: in logits for fp32, by default 1e-4, and as a share of their standard deviation for
    int8, by default 0.5; straight_through, whether int8 has gradients, which are those of its
    weights in float32.
    """

    precision: str = "fp32"
    tolerance: float | None = None
    straight_through: bool = True

    def __post_init__(self) -> None:
        if self.precision not in TOLERANCES:
            raise ValueError(f"precision is '{self.precision}', it must be fp32 or int8")
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"tolerance is {self.tolerance}, it must be above 0")

    @property
    def _int8(self) -> bool:
        return self.precision == "int8"

    def compress(self, model: Recommender, data: Data, tell: Tell) -> Recommender:
        """The model, served.

        Raises XrecError: it has nothing to serve, or nothing that int8 is for; it is served or
        rounded already; a part cannot be said in ONNX; it does not score as before.
        """
        self._check(model)
        before = copy.deepcopy(model)
        if self._int8:
            _smooth(model, data)
        for name, language in _transformers(model).items():
            self._serve(model, name, _transformer(language, name, self._int8))
        for name, layer in _layers(model).items():
            self._serve(model, name, _layer(layer, name))
        self._compare(before, model, data, tell)
        model.slope = Slope(straight_through=self._int8 and self.straight_through)
        return model

    def _check(self, model: Recommender) -> None:
        for module in model.modules():
            if isinstance(module, Served):
                module.settle()
        rounded = any(map(is_traceable_wrapper_subclass, model.parameters()))
        if rounded or model.slope != Slope():
            raise XrecError(
                "onnx: the model computes with rounded numbers already: leave out the step that "
                "rounds them, and set precision to int8 here"
            )
        if self._int8 and not _transformers(model):
            raise XrecError(
                f"onnx: int8 is for language models, and {type(model).__name__} has none of its "
                "own: set precision to fp32"
            )
        if not _transformers(model) and not _layers(model):
            raise XrecError(
                f"onnx: {type(model).__name__} has neither a language model nor layers of the "
                "sequential model: export it whole, with 'xrec export --format onnx'"
            )

    def _serve(self, model: Recommender, name: str, graph: Tensor) -> None:
        """Put a graph in the place of a part."""
        part: Any = model.get_submodule(name)
        if isinstance(part, Layer):
            served: Served = ServedLayer(part, graph, True, {})
        else:
            if self._int8:
                part.set_input_embeddings(_smaller(part.get_input_embeddings()))
            through = self.straight_through or not self._int8
            words = {"words": part.get_input_embeddings()}
            served = ServedTransformer(part, graph, through, words)
        model.set_submodule(name, served.eval())

    @torch.no_grad()
    def _compare(self, before: Recommender, after: Recommender, data: Data, tell: Tell) -> None:
        """Raise XrecError where scores differ by more than the tolerance."""
        batch = data.queries("validate")
        inputs = before.embed(batch.rows(slice(0, ROWS)))
        drawn = torch.rand(inputs.present.shape, generator=torch.Generator().manual_seed(data.seed))
        fewer = inputs.present & ((drawn.to(inputs.values.device) < 0.5) | inputs.features.fixed)
        whole = [inputs, inputs.with_present(fewer)]
        want, found = (torch.cat([m.score(each) for each in whole]) for m in (before, after))
        scale = want.std() if self._int8 else torch.ones(())
        gap, allowed = float((found - want).abs().max() / scale), self._allowed
        unit = "standard deviations" if self._int8 else "at most"
        if not gap <= allowed:  # nor if it is no number
            raise XrecError(
                f"onnx: a logit differs from the model's before by {gap:.3g} {unit}, more than "
                f"the tolerance {allowed:g}: raise it, or set precision to fp32"
            )
        tell(f"  {len(want)} logits differ by {gap:.1e} {unit}")

    @property
    def _allowed(self) -> float:
        return TOLERANCES[self.precision] if self.tolerance is None else self.tolerance

    def form(self, model: Recommender) -> dict[str, Any]:
        """The bytes of each graph."""
        served = {n: m for n, m in model.named_modules() if isinstance(m, Served)}
        return {"graphs": {name: len(module.graph) for name, module in served.items()}}

    def shaped(self, model: Recommender, form: Mapping[str, Any]) -> Recommender:
        """Graphs, not filled in, in the places of the parts."""
        for name, size in form["graphs"].items():
            if self._int8 and name in _transformers(model):
                smooth(model.get_submodule(name), {})
            self._serve(model, name, torch.zeros(size, dtype=torch.uint8))
        return model

    def twin(self, model: Recommender) -> Recommender:
        """The model in PyTorch throughout."""
        twin = copy.deepcopy(model)
        for name, module in list(twin.named_modules()):
            if isinstance(module, Served):
                twin.set_submodule(name, module.beside)
        return twin


def _transformers(model: Recommender) -> dict[str, LanguageModel]:
    """The language models in a model, by the names of their transformers."""
    found = {n: m for n, m in model.named_modules() if isinstance(m, LanguageModel)}
    return {f"{name}.transformer": language for name, language in found.items()}


def _layers(model: Recommender) -> dict[str, Layer]:
    return {n: m for n, m in model.named_modules() if isinstance(m, Layer)}


def _smooth(model: Recommender, data: Data) -> None:
    """Even out what the maps of the language models read, as training batches show it."""
    parts = {name: model.get_submodule(name) for name in _transformers(model)}
    within = {f"{at}.{name}": m for at, part in parts.items() for name, m in maps(part).items()}
    largest: dict[str, Tensor] = {}

    def see(name: str, given: Tensor) -> None:
        found = given.abs().flatten(0, -2).amax(0)
        largest[name] = torch.maximum(found, largest.get(name, found))

    observe(model, data, within, see)
    for at, part in parts.items():
        mine = {n.removeprefix(f"{at}."): v for n, v in largest.items() if n.startswith(f"{at}.")}
        smooth(part, mine)


def _smaller(words: nn.Embedding) -> nn.Embedding:
    """A table of vectors in integers, if that is smaller, as it is not where it was factorised."""
    made = RoundedTable.of(words, words.num_embeddings)
    return made if made.nbytes < sum(each.nbytes for each in words.parameters()) else words


class _OneText(nn.Module):
    """A transformer of one text, all of whose tokens are there; `named` as it calls its inputs."""

    def __init__(self, part: nn.Module, named: list[str], decoder: bool) -> None:
        super().__init__()
        self.part, self.named, self.decoder = part, named, decoder

    def forward(self, *given: Tensor) -> Tensor:
        """(1, T, E) states."""
        known: dict[str, Any] = dict(zip(self.named, given, strict=True))
        if self.decoder:  # without a mask it would take a gap between places for a text's end
            mask = torch.ones_like(known["position_ids"])
            known |= {"attention_mask": mask, "use_cache": False}
        states: Tensor = self.part(**known).last_hidden_state
        return states


class _AllSlots(nn.Module):
    """A layer of the sequential model that gives the states of all slots."""

    def __init__(self, part: Layer) -> None:
        super().__init__()
        self.part = part

    def forward(self, hidden: Tensor, allowed: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, D) states and (B, H, S, S) attention."""
        found: tuple[Tensor, Tensor] = self.part(hidden, allowed, distance, 0)
        return found


def _transformer(language: LanguageModel, name: str, int8: bool) -> Tensor:
    """The graph of a language model's transformer, (bytes,) uint8."""
    _check_gaps(language)
    given = _called(language)
    body = _OneText(language.transformer, list(given), language.kind == "decoder")
    shapes = (({1: ANY},) * len(given),)  # all of one *argument
    with eager(language.transformer):  # in fewer steps than ONNX has PyTorch's fused attention in
        return _graph(name, body, given, ["states"], shapes, int8)


def _layer(layer: Layer, name: str) -> Tensor:
    """The graph of a sequential model's layer, (bytes,) uint8."""
    wide, slots = layer.before_attention.normalized_shape[0], 5
    given = {
        "hidden": torch.zeros(2, slots, wide),
        "allowed": torch.ones(2, slots, slots, dtype=torch.bool),
        "distance": torch.zeros(slots, slots, dtype=torch.long),
    }
    shapes = ({0: ANY, 1: ANY}, {0: ANY, 1: ANY, 2: ANY}, {0: ANY, 1: ANY})
    return _graph(name, _AllSlots(layer), given, ["states", "attention"], shapes, int8=False)


def _graph(
    name: str,
    module: nn.Module,
    given: Mapping[str, Tensor],
    outputs: list[str],
    shapes: Any,
    int8: bool,
) -> Tensor:
    try:
        file = written(module.eval(), given, outputs, shapes, int8)
    except torch.onnx.errors.OnnxExporterError as error:
        raise XrecError(
            f"onnx: {name} cannot be said in ONNX ({cause(error)}): leave this step out"
        ) from error
    return torch.frombuffer(bytearray(file), dtype=torch.uint8)


def _called(language: LanguageModel) -> dict[str, Tensor]:
    """The tensors that a language model gives its transformer for a text, but for the mask."""
    seen: dict[str, Any] = {}
    hook = language.transformer.register_forward_pre_hook(
        lambda _, __, given: seen.update(given), with_kwargs=True
    )
    try:
        _states(language, torch.ones(1, 8, dtype=torch.bool))
    finally:
        hook.remove()
    return {
        name: given
        for name, given in seen.items()
        if isinstance(given, Tensor) and name != "attention_mask"
    }


def _check_gaps(language: LanguageModel) -> None:
    """Raise XrecError where states are others if a token that is absent is left out altogether."""
    present = torch.tensor([[True, True, False, True, False, False, True, True]])
    places = present.nonzero()[:, 1]
    whole = _states(language, present)[0, places]
    packed = _states(language, present[:, places], places[None])[0]
    if not torch.allclose(packed, whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max())):
        raise XrecError(
            f"onnx: a '{language.model_type}' model counts how far apart tokens are in slots, so "
            "that those which are absent cannot be left out: leave this step out"
        )


@torch.no_grad()
def _states(language: LanguageModel, present: Tensor, places: Tensor | None = None) -> Tensor:
    """(1, T, E) states of one text of T tokens, the same at the same places (1, T)."""
    places = torch.arange(present.shape[1])[None] if places is None else places
    vectors = language.word_vectors(places % len(language.pieces()))
    return language.states(vectors, present, places, torch.zeros_like(places))


@hookimpl
def xrec_compressors() -> dict[str, type]:
    """Offer ONNX Runtime."""
    return {"onnx": Onnx}
