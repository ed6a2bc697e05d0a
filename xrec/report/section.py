"""What a report is made of: titled blocks of text, tables and pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    """Columns with their heads; a column of numbers aligns right.

    What follows a ± or a line break in a cell is set smaller.
    caption: what the table tells. notes: what explains the heads, below it. spans: heads above the
    heads, each with the number of columns it covers. strong: the rows set off, by their first cell.
    best: the cells set off, as (row, column). marks: a word beside the first cell that it is for.
    links: the page that a first cell leads to, beside this one.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: str = ""
    strong: Sequence[str] = ()
    caption: str = ""
    spans: Sequence[tuple[str, int]] = ()
    best: Collection[tuple[int, int]] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """Terms, each with what it means or what there is to say of it."""

    pairs: Sequence[tuple[str, str]]
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """An SVG drawing, with the words that stand for it where it cannot be seen.

    svg: a trusted element, put on the page as it is. caption: the words above it. Pictures that
    follow each other stand side by side where there is room, but for those that are wide.
    """

    svg: str
    words: str
    caption: str = ""
    wide: bool = False


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


Block = Text | Code | Table | Terms | Picture | Card


@dataclass(frozen=True)
class Chapter:
    """A titled run of blocks: what a section gives."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


class Section(Protocol):
    """The contract of a section plugin."""

    def render(self, run: Run) -> Chapter:
        """A chapter, made from the run's artefacts only.

        One without blocks, where there is nothing to tell, is left out of the report.
        """
