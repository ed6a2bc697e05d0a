"""A smaller student of the model, taught by it.

What the teacher says, how it reads and why it says it are terms of the student's loss beside the
model's own (Hinton et al., 2015; TinyBERT: Jiao et al., 2020). `explanations` lets the student keep
the teacher's: its gradients are matched, by differentiating twice (Srinivas and Fleuret, 2018;
Pruthi et al., 2022, find that explanations help students).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from xrec import hookimpl
from xrec.compress.compressor import Tell
from xrec.compress.state import size
from xrec.data.module import Data
from xrec.errors import XrecError, nearest
from xrec.models.rates import starts
from xrec.models.recommender import Recommender
from xrec.runs.finetuning import finetune
from xrec_plugins.compressors.student import KEPT, Resizable, places, shallower, stack
from xrec_plugins.compressors.teaching import TERMS, Teaching

OF = ("", "language", "model")


@dataclass(frozen=True)
class Distil:
    """Options.

    layers: of the student; 0, half of the teacher's.
    keep: which of the teacher's layers it begins with: spread, first or last.
    of: whose layers they are, the language model's or the model's own; if empty, the language
        model's where the model has one.
    width, heads: of a student that is built anew, where the model can be; 0, the teacher's.
    epochs, lr: of teaching; everything learns but a retriever.
    rows: of a training step's windows, those on which student and teacher are compared.
    rivals: items that a window's own is compared with, for `logits`.
    temperature: that softens what they say.
    logits, hidden, attention, explanations: weights of the terms; 0 is off.
    """

    layers: int = 0
    keep: str = "spread"
    of: str = ""
    width: int = 0
    heads: int = 0
    epochs: int = 10
    lr: float = 1e-3
    rows: int = 32
    rivals: int = 8
    temperature: float = 2.0
    logits: float = 1.0
    hidden: float = 0.0
    attention: float = 0.0
    explanations: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("keep", KEPT), ("of", OF)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is '{getattr(self, name)}': {nearest(getattr(self, name), known)}"
                )
        for name in ("layers", "width", "heads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 0")
        for name in ("epochs", "rows", "rivals"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.lr <= 0 or self.temperature <= 0:
            raise ValueError("lr and temperature must be above 0")
        if any(weight < 0 for weight in self.weights.values()):
            raise ValueError(f"{', '.join(TERMS)} are weights: they must be at least 0")
        if not any(self.weights.values()):
            raise ValueError(f"{', '.join(TERMS)} are all 0: give one of them a weight")

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms, by their names."""
        return {name: getattr(self, name) for name in TERMS}

    def compress(self, model: Recommender, data: Data, tell: Tell) -> Recommender:
        """A student, taught by the model. Raises XrecError: none smaller can be made of it."""
        student = self.student(copy.deepcopy(model))
        with _taught(student, self.teaching(model, student)) as teaching:
            finetune(student, data, self.epochs, self.lr, tell, [teaching])
        return student

    def teaching(self, teacher: Recommender, student: Recommender) -> Teaching:
        """What pulls a student towards its teacher, as the options say."""
        asked = (self.rows, self.rivals, self.temperature)
        return Teaching(teacher, student, self.weights, *asked)

    def student(self, model: Recommender) -> Recommender:
        """The student, untaught: `model`, its to change, with fewer layers, or one built anew.

        Raises XrecError: it would be no smaller, or the model cannot be built in other sizes.
        """
        layers = stack(model, self.of)
        count = self.layers or max(1, len(layers) // 2)
        anew = bool(self.width or self.heads)
        if count > len(layers) - (not anew):
            raise XrecError(
                f"compressor 'distil': layers is {count}, it must be below the {len(layers)} of "
                "the model"
            )
        if anew:
            return self._anew(model, count)
        shallower(model, layers, places(count, len(layers), self.keep))
        return model

    def _anew(self, model: Recommender, layers: int) -> Recommender:
        """A fresh student in other sizes."""
        if not isinstance(model, Resizable) or self.of == "language":
            raise XrecError(
                f"compressor 'distil': width and heads are of models that can be built anew, such "
                f"as sequential, and not of {self.of or type(model).__name__}: leave them out"
            )
        try:
            made = model.resized(layers, self.width, self.heads)
        except ValueError as error:
            raise XrecError(f"compressor 'distil': {error}") from error
        before, after = (size(each)["parameters"] for each in (model, made))
        if after >= before:
            raise XrecError(
                f"compressor 'distil': the student has {after:,} parameters, no fewer than the "
                f"model's {before:,}: lower width or layers"
            )
        return made

    def form(self, model: Recommender) -> dict[str, Any]:
        """How many layers there are."""
        return {"layers": len(stack(model, self.of))}

    def shaped(self, model: Recommender, form: Mapping[str, Any]) -> Recommender:
        """A student of as many layers."""
        return replace(self, layers=form["layers"]).student(model)


@contextmanager
def _taught(student: Recommender, teaching: Teaching) -> Iterator[Teaching]:
    """Within, what teaching learns is part of the student, of which retrievers do not learn.

    Rates of parts that do not learn, as of retrievers, or of adapters that were merged, are left
    out.
    """
    others = [m for m in student.modules() if isinstance(m, Recommender) and m is not student]
    frozen = [p for each in others for p in each.parameters() if p.requires_grad]
    options = student.options
    student.add_module("teaching", teaching)
    for parameter in frozen:
        parameter.requires_grad_(False)
    learning = [name for name, each in student.named_parameters() if each.requires_grad]
    known = {start for name in learning for start in starts(name)}
    rates = {name: rate for name, rate in options.rates.items() if name in known}
    student.options = replace(options, rates=rates)
    try:
        yield teaching
    finally:
        student.options = options
        del student.teaching
        for parameter in frozen:
            parameter.requires_grad_(True)


@hookimpl
def xrec_compressors() -> dict[str, type]:
    """Offer distillation."""
    return {"distil": Distil}
