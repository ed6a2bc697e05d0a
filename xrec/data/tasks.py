"""What a model learns to predict of an event: tasks, each with its truth and its loss."""

from __future__ import annotations

from dataclasses import dataclass

from xrec.errors import nearest

#: What a task may predict, each with the losses that fit; the first is taken if none is named.
LOSSES = {"next": ("bce", "softmax"), "value": ("mse", "bce"), "action": ("bce",)}


@dataclass(frozen=True)
class Task:
    """A task of the recipe's `tasks:`.

    name: what it is called, in figures and in `heads`.
    target: what is predicted of an event. "next": that it is the one that followed, told from items
        drawn at random. "value": the number it has, a rating or a count. "action": what was done.
    loss: "bce", binary cross-entropy; "softmax", cross-entropy over the event and the items drawn;
        "mse", mean squared error of the value.
    above: with target value and loss bce, the value above which the truth is 1.
    equals: with target action, the action of which the truth is 1.
    """

    name: str
    target: str = "next"
    loss: str = ""
    above: float | None = None
    equals: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"name is '{self.name}', it must be a word, as in click")
        if self.target not in LOSSES:
            raise ValueError(f"target is '{self.target}': {nearest(self.target, LOSSES)}")
        fitting = LOSSES[self.target]
        object.__setattr__(self, "loss", self.loss or fitting[0])
        if self.loss not in fitting:
            known = " or ".join(fitting)
            raise ValueError(f"loss is '{self.loss}', but target {self.target} has {known}")
        if (self.above is not None) != (self.target == "value" and self.loss == "bce"):
            raise ValueError("above goes with target value and loss bce, and they with it")
        if bool(self.equals) != (self.target == "action"):
            raise ValueError("equals goes with target action, and that with it")

    @property
    def ranks(self) -> bool:
        """Whether it tells the event that followed from others, so that it ranks a catalogue."""
        return self.target == "next"


CLICK = Task("click")

#: Tasks that a recipe may call by their names alone; the first is what a model learns by default.
KNOWN = {task.name: task for task in (CLICK, Task("rating", target="value"))}
