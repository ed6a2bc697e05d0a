"""What a report is made of: titled blocks of text, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from xrec.runs.run import Run


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Something to be typed."""

    text: str


@dataclass(frozen=True)
class Table:
    """Columns with their heads; `notes` explain a head. Cells that are numbers align right.

    A row whose first cell is in `strong` is set off.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: str = ""
    strong: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """An SVG drawing with the words that stand for it where it cannot be seen."""

    svg: str
    words: str


@dataclass(frozen=True)
class Bar:
    """One signed contribution."""

    name: str
    value: float


@dataclass(frozen=True)
class Card:
    """A recommendation with its contributions, largest first, and the sums of their groups."""

    title: str
    lines: Sequence[str]
    bars: Sequence[Bar]
    groups: Sequence[Bar]
    note: str = ""


Block = Text | Code | Table | Picture | Card


@dataclass(frozen=True)
class Chapter:
    """A titled run of blocks: what a section gives."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


class Section(Protocol):
    """The contract of a section plugin."""

    def render(self, run: Run) -> Chapter:
        """A chapter, made from the run's artefacts only."""
