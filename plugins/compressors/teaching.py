"""A teacher beside a model in training: extra terms of its loss, by what both show of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xrec import hookimpl
from xrec.data.batches import Batch
from xrec.models.inputs import Inputs
from xrec.models.language import still
from xrec.models.recommender import Recommender
from xrec_plugins.compressors import matching
from xrec_plugins.compressors.shown import Shown, show

TERMS = ("logits", "hidden", "attention", "explanations")


class Teaching(nn.Module):
    """The terms of a student's loss that pull it towards its teacher, those that weigh anything.

    weights: by the names of `TERMS`. rows: of a batch's windows, those that both models are asked
    about. rivals: items drawn for a window that its item is compared with. temperature: of what
    they say.

    Both are compared in evaluation mode, as they are used. Its parameters bring the student's
    states to the teacher's width, where these differ: they learn with the student.
    """

    def __init__(
        self,
        teacher: Recommender,
        student: Recommender,
        weights: Mapping[str, float],
        rows: int,
        rivals: int,
        temperature: float,
    ) -> None:
        super().__init__()
        self._teacher = (teacher.requires_grad_(False).eval(),)  # none of this module's parts
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.rows, self.temperature = rows, temperature
        self.rivals = rivals if "logits" in self.weights else 0
        self.fit = nn.ModuleList()
        if "hidden" in self.weights:
            self.fit.extend(self._fits(student))

    def _fits(self, student: Recommender) -> list[nn.Module]:
        """Of each of the student's layers, what brings its states to the teacher's width."""
        mine, theirs = (_widths(model) for model in (student, *self._teacher))
        pairs = zip(mine, matching.partners(len(mine), len(theirs)), strict=True)
        return [
            nn.Identity() if width == theirs[at] else nn.Linear(width, theirs[at], bias=False)
            for width, at in pairs
        ]

    @hookimpl
    def xrec_loss(self, module: Recommender, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of a batch of training windows, by their names."""
        asked, rivals = self.asked(batch)
        found = self.terms(module, asked, rivals)
        return {f"distil_{name}": self.weights[name] * term for name, term in found.items()}

    def asked(self, batch: Batch) -> tuple[Batch, Tensor]:
        """What both models are asked of a batch, and rivals (B, R) of each item.

        Of each of the first windows one learned event is drawn, as what is to follow on those
        before it.
        """
        some = batch.rows(slice(0, self.rows))
        assert some.learned is not None
        assert some.negatives is not None
        window = some.ending(torch.multinomial(some.learned.float(), 1)[:, 0])
        return window.earlier(), some.negatives[:, : self.rivals]

    def terms(self, student: Recommender, asked: Batch, rivals: Tensor) -> dict[str, Tensor]:
        """How far a student is from the teacher, by the terms that weigh anything."""
        inputs = student.embed(asked)
        with still(student):
            mine = self._seen(student, inputs, rivals)
        (teacher,) = self._teacher
        with torch.no_grad():
            inputs = teacher.embed(asked)
        theirs = self._seen(teacher, inputs, rivals)
        return {name: self._term(name, mine, theirs) for name in self.weights}

    def _seen(self, model: Recommender, inputs: Inputs, rivals: Tensor) -> Shown:
        return show(
            model,
            inputs,
            rivals,
            states="hidden" in self.weights,
            maps="attention" in self.weights,
            slopes="explanations" in self.weights,
        )

    def _term(self, name: str, mine: Shown, theirs: Shown) -> Tensor:
        if name == "logits":
            return matching.softened(mine.said, theirs.said.detach(), self.temperature)
        if name == "hidden":
            return matching.states(mine.states, theirs.states, list(self.fit))
        if name == "attention":
            return matching.attention(mine.maps, theirs.maps)
        assert mine.slopes is not None
        assert theirs.slopes is not None
        return matching.explanations(mine.slopes, theirs.slopes)


def _widths(model: Recommender) -> list[int]:
    """The width of the states after each layer."""
    asked = model.data_module.queries("train").rows(slice(0, 1))
    with torch.no_grad(), still(model):
        found = show(model, model.embed(asked), asked.history[:, :0], states=True)
    return [states.shape[-1] for states, _ in found.states]
