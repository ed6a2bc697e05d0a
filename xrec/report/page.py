"""One self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from xrec.report.section import Bar, Chapter


def page(title: str, chapters: Sequence[Chapter]) -> str:
    """The HTML of a report, its styles and pictures inside it: reading it fetches nothing."""
    environment = Environment(
        loader=PackageLoader("xrec", "report"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(kind=lambda block: type(block).__name__.lower(), width=_width)
    environment.tests["number"] = _is_number
    return environment.get_template("page.html").render(title=title, chapters=chapters)


def _width(bar: Bar, bars: Sequence[Bar]) -> float:
    """Length of a bar in percent of its half of the axis, the longest of `bars` filling it."""
    longest = max((abs(each.value) for each in bars), default=0) or 1
    return round(100 * abs(bar.value) / longest, 1)


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in "-−±–<" or cell == ""
