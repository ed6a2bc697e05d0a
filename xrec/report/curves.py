"""Scores against time as the budget grows: a line for each explainer, and the front of them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text

from xrec.report.canvas import (
    ARROWS,
    LINE,
    SOFT,
    WIDE,
    figure_of,
    log_axis,
    name,
    place,
    sheet,
    styled,
    svg,
)
from xrec.report.drawing import Dot, draw, look

FRONT = "#f0c987"  # a broad band behind everything
LEAST = 1e-3  # milliseconds: a clock that shows nothing has no logarithm
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
        _front(axes, [(max(x, LEAST), y) for x, y in front])
        # Those in the background are drawn first.
        marks, names = list[Line2D](), list[Text]()
        for line in sorted(lines, key=lambda each: not each.faint):
            marks += _curve(axes, line)
            names += _named(axes, line)
        times = [max(x, LEAST) for line in lines for x, _ in (*line.points, _at(line))]
        log_axis(axes, min(times), max(times))
        place(axes, names, marks)
        return svg(figure_of(axes), f"{better} {lines} {front}")


def _at(line: Curve) -> Point:
    return max(line.chosen.x, LEAST), line.chosen.y


def _front(axes: Axes, points: Sequence[Point]) -> None:
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(
            x, y, color=FRONT, linewidth=9, solid_capstyle="round", zorder=1, drawstyle="steps-post"
        )


def _curve(axes: Axes, line: Curve) -> list[Line2D]:
    """The line through all settings, a small dot for each, and the chosen one with its interval."""
    colour = LINE if line.faint else look(line.chosen)[1]
    x = [max(time, LEAST) for time, _ in line.points]
    y = [score for _, score in line.points]
    drawn = axes.plot(x, y, "-", color=colour, linewidth=1.2)
    small = axes.plot(x, y, "o", ms=3.5, color=colour)
    if line.faint:
        return [*drawn, *small]
    dot = line.chosen
    return [*small, *draw(axes, Dot(dot.name, *_at(line), dot.low, dot.high, dot.standing))]


def _named(axes: Axes, line: Curve) -> list[Text]:
    if line.faint:
        return []
    return [name(axes, *_at(line), line.chosen.name, look(line.chosen)[1] or SOFT)]
