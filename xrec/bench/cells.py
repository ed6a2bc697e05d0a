"""The cells of a benchmark: each is done once, and told of with the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from xrec import __version__
from xrec.runs.run import Tell
from xrec.runs.store import Store, key_of

MINUTE = 90  # seconds from which on minutes are told


@dataclass(frozen=True)
class Cell:
    """A piece of work that writes files of its own.

    follows: plain values; where they have changed it is done again. kind: cells of one kind take
    about as long.
    """

    name: str
    kind: str
    follows: tuple[Any, ...]
    work: Callable[[], None]


@dataclass
class Progress:
    """How far a benchmark is, and how long it still takes, by what cells of a kind took so far."""

    left: list[str] = field(default_factory=list)
    took: dict[str, list[float]] = field(default_factory=dict)

    def done(self, cell: Cell, seconds: float) -> str:
        """A cell is done: which of how many, and the time left, in words."""
        self.left.remove(cell.kind)
        self.took.setdefault(cell.kind, []).append(seconds)
        count = sum(len(each) for each in self.took.values())
        means = {kind: sum(each) / len(each) for kind, each in self.took.items()}
        usual = sum(means.values()) / len(means)
        rest = sum(means.get(kind, usual) for kind in self.left)
        time = f"{rest:.0f} s" if rest < MINUTE else f"{rest / 60:.0f} min"
        return f"[{count}/{count + len(self.left)}] {cell.name}  {seconds:.1f} s, about {time} left"


class Cells:
    """The cells of one folder, carried out in the order in which they are given."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self.store, self.tell, self.progress = store, tell, Progress()
        self.seconds = 0.0  # that all of them took, when they were done

    def do(self, cells: Iterable[Cell]) -> None:
        """Do the cells that were not done before for the same key."""
        cells = list(cells)
        self.progress.left += [cell.kind for cell in cells]
        for cell in cells:
            key = key_of(cell.name, cell.follows, __version__)
            anew = not self.store.finished(cell.name, key)
            if anew:
                with self.store.stage(cell.name, key, {}):
                    cell.work()
            took = (self.store.record(cell.name) or {})["seconds"]
            self.seconds += took
            told = self.progress.done(cell, took)
            if anew:
                self.tell(told)
