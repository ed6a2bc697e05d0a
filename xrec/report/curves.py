"""Scores against time as the budget grows: a line for each explainer, and the front of them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text

from xrec.report.canvas import (
    ARROWS,
    LINE,
    WIDE,
    figure_of,
    log_axis,
    sheet,
    styled,
    svg,
)
from xrec.report.drawing import Dot, draw, look
from xrec.report.names import name, place

FRONT = "#f0c987"  # a broad band behind everything
LEAST = 1e-3  # milliseconds: a clock that shows nothing has no logarithm
STEPS = 12  # into which a line from one setting to the next is parted, to keep names off it
Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """An explainer: the setting it is judged by, and (milliseconds, score) of all that were tried.

    faint: it is drawn for comparison only, without its name.
    """

    chosen: Dot
    points: Sequence[Point]
    faint: bool = False


def curves(lines: Sequence[Curve], front: Sequence[Point], better: str) -> str:
    """Curves on a log axis of times; `front`, quickest first, is the band that steps from each to
    the next. `better` is the way that the score gets better: "higher" or "lower".
    """
    with styled():
        axes = sheet(440, "time for one explanation (log scale)", WIDE)
        axes.set_title(ARROWS[better])
        band = _stepped([(max(x, LEAST), y) for x, y in front])
        axes.plot(*_apart(band), color=FRONT, linewidth=9, solid_capstyle="round", zorder=1)
        # Those in the background are drawn first.
        marks, names = list[Line2D](), list[Text]()
        for line in sorted(lines, key=lambda each: not each.faint):
            marks += _curve(axes, line)
            names += _named(axes, line)
        along = [each for line in lines if not line.faint for each in _along(_points(line))]
        times = [max(x, LEAST) for line in lines for x, _ in (*line.points, _at(line))]
        log_axis(axes, min(times), max(times))
        place(axes, names, marks, *_apart([*along, *_along(band)]))
        return svg(figure_of(axes), f"{better} {lines} {front}")


def _at(line: Curve) -> Point:
    return max(line.chosen.x, LEAST), line.chosen.y


def _points(line: Curve) -> list[Point]:
    return [(max(x, LEAST), y) for x, y in line.points] or [_at(line)]


def _apart(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _stepped(points: Sequence[Point]) -> list[Point]:
    """The same points with a corner before each: what is best stays so until there is better."""
    corners = [(to, y) for (_, y), (to, _) in pairwise(points)]
    return [*points[:1], *(p for pair in zip(corners, points[1:], strict=True) for p in pair)]


def _curve(axes: Axes, line: Curve) -> list[Line2D]:
    """Draw the line through all settings, a small dot on each; returns the mark of the chosen."""
    colour = LINE if line.faint else look(line.chosen)[1]
    axes.plot(*_apart(_points(line)), "o-", color=colour, linewidth=1.2, ms=3.5, mew=1)
    if line.faint:
        return []
    dot = line.chosen
    return draw(axes, Dot(dot.name, *_at(line), dot.low, dot.high, dot.standing))


def _along(points: Sequence[Point]) -> list[Point]:
    """Points that lie so close on the line through some that no name fits between two."""
    found = [*points[:1]]
    for (x, y), (to, down) in pairwise(points):
        shares = [step / STEPS for step in range(1, STEPS + 1)]
        found += [(x * (to / x) ** share, y + (down - y) * share) for share in shares]
    return found


def _named(axes: Axes, line: Curve) -> list[Text]:
    if line.faint:
        return []
    return [name(axes, *_at(line), line.chosen.name, look(line.chosen)[1])]
