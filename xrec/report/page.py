"""One self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from xrec.report.section import Bar, Card, Chapter, Table
from xrec.report.words import signed

#: A cell of a column of numbers: 0.71 ± 0.04, -3, 1,682, <0.001, 12 %, or none.
NUMBER = re.compile(r"[<+−-]?\d[\d,]*(\.\d+)?( ± \d[\d,]*(\.\d+)?)?([ \N{NO-BREAK SPACE}]?%)?|–|")


def page(title: str, chapters: Sequence[Chapter], back: tuple[str, str] | None = None) -> str:
    """The HTML of a report, its styles and pictures inside it: reading it fetches nothing.

    Chapters without blocks, which have nothing to tell, are left out. back: the address of the page
    that this one belongs to, and the words that lead there.
    """
    environment = Environment(
        loader=PackageLoader("xrec", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        kind=lambda block: type(block).__name__.lower(),
        numeric=_numeric,
        number=_number,
        lines=_lines,
        zero=_zero,
        laid=_laid,
        signed=signed,
    )
    told = [chapter for chapter in chapters if chapter.blocks]
    return environment.get_template("page.html").render(title=title, chapters=told, back=back)


def _numeric(table: Table) -> list[bool]:
    """Which columns hold numbers: every cell is one or none, and one at least is a number.

    The first column names the rows.
    """
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.head)
    return [False] + [
        all(NUMBER.fullmatch(cell) for cell in column) and any(c.strip("–") for c in column)
        for column in columns[1:]
    ]


def _number(cell: str) -> tuple[str, str]:
    """A number, and what follows its ±."""
    value, _, spread = cell.partition(" ± ")
    return value.replace("-", "−"), spread


def _lines(cell: str) -> tuple[str, str]:
    """What a cell says, and what it says below that in small."""
    said, _, small = cell.partition("\n")
    return said, small


def _ends(card: Card) -> tuple[float, float]:
    """The values at the ends of a card's one scale, which features and groups share."""
    values = [bar.value for bar in (*card.bars, *card.groups)]
    return min(0.0, *values), max(0.0, *values)


def _zero(card: Card) -> float:
    """Where zero lies on the card's scale, in percent of its length."""
    low, high = _ends(card)
    return round(100 * -low / ((high - low) or 1), 1)


def _laid(bar: Bar, card: Card) -> tuple[float, float]:
    """Where a bar begins and how long it is, in percent of the card's scale."""
    low, high = _ends(card)
    size = (high - low) or 1
    return round(100 * (min(bar.value, 0) - low) / size, 1), round(100 * abs(bar.value) / size, 1)
