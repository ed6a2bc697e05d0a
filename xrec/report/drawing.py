"""Charts of a few points: scores against time, a course over steps, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from xrec.report.canvas import (
    ARROWS,
    BLUE,
    BROWN,
    GREEN,
    ROUND,
    SOFT,
    figure_of,
    log_axis,
    sheet,
    styled,
    svg,
)
from xrec.report.names import name, place

#: The shape and the colour of an explainer by its standing; all that have one are hollow.
LOOKS = {"floor": ("s", SOFT), "heuristic": ("D", BROWN), "ceiling": ("^", GREEN)}


@dataclass(frozen=True)
class Dot:
    """A named point at (x, y) with the interval from low to high; `standing` gives its shape."""

    name: str
    x: float
    y: float
    low: float
    high: float
    standing: str = ""


def scatter(dots: Sequence[Dot], better: str) -> str:
    """Scores against milliseconds on a log axis, with error bars and a name at each point.

    `better` is the way that the score gets better: "higher" or "lower". Blue discs; a floor is a
    hollow square, a heuristic a diamond, a ceiling a triangle.
    """
    with styled():
        axes = sheet(300, "time for one explanation (log scale)")
        axes.set_title(ARROWS[better])
        # A clock that shows nothing has no logarithm.
        dots = [Dot(d.name, max(d.x, 1e-3), d.y, d.low, d.high, d.standing) for d in dots]
        marks = [mark for dot in dots for mark in draw(axes, dot)]
        log_axis(axes, min(dot.x for dot in dots), max(dot.x for dot in dots))
        place(axes, [name(axes, d.x, d.y, d.name, look(d)[1]) for d in dots], marks)
        return svg(figure_of(axes), f"{better} {dots}")


def course(
    steps: Sequence[int], values: Sequence[float], kept: int | None = None, title: str = "epoch"
) -> str:
    """Values over steps as a line; the step at index `kept` is marked as the one kept."""
    with styled():
        axes = sheet(200, title)
        axes.plot(steps, values, color=BLUE, linewidth=2)
        axes.set_xlim(min(steps) - 0.5, max(steps) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=ROUND, integer=True, min_n_ticks=1))
        if kept is not None:
            at = steps[kept], values[kept]
            mark = axes.plot(*at, "o", color=BROWN, markersize=9)
            said = name(axes, *at, f"kept: {values[kept]:.3f}", BROWN)
            place(axes, [said], mark, steps, values)
        return svg(figure_of(axes), f"{steps} {values} {kept} {title}")


def columns(names: Sequence[str], counts: Sequence[int], title: str) -> str:
    """A column for each name, as high as its count, which stands above it."""
    with styled():
        axes = sheet(200, title)
        bars = axes.bar(range(len(names)), counts, color=BLUE, width=0.6)
        axes.bar_label(bars, [str(count) for count in counts], padding=2, color=SOFT)
        axes.set_xlim(-0.7, len(names) - 0.3)
        axes.set_xticks(range(len(names)), names)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND, integer=True, min_n_ticks=1))
        return svg(figure_of(axes), f"{names} {counts} {title}")


def look(dot: Dot) -> tuple[str, str]:
    """The shape and the colour of a point."""
    return LOOKS.get(dot.standing, ("o", BLUE))


def draw(axes: Axes, dot: Dot) -> list[Line2D]:
    """A point and its interval, in the looks of its standing."""
    (marker, colour), filled = look(dot), dot.standing not in LOOKS
    inside = colour if filled else "white"
    return [
        *axes.plot([dot.x, dot.x], [dot.low, dot.high], color=colour, linewidth=1.5),
        *axes.plot(dot.x, dot.y, marker, ms=8, mew=2, mec=colour, mfc=inside),
    ]
