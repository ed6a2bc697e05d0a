"""Charts as SVG text: drawn at the size they are read at, in the colours of the page.

Words stay words: they can be searched and read aloud, and the page sets them in its own type.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from adjustText import adjust_text
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

WIDTH, DPI = 360, 72  # of a drawing; at 72 dots an inch its units are the page's pixels
SOFT, LINE, BLUE, BROWN = "#56616e", "#dde3ea", "#1f6aa5", "#9a4f0f"
ROUND = [1, 2, 5, 10]  # what the ticks are multiples of
ARROWS = {"higher": "↑ better", "lower": "↓ better"}
#: The shape and the colour of an explainer by its standing; floors and heuristics are hollow.
LOOKS = {"floor": ("s", SOFT), "heuristic": ("D", BROWN)}
STYLE = {
    "svg.fonttype": "none",
    "figure.dpi": DPI,
    "figure.constrained_layout.use": True,
    "font.size": 12,
    "font.sans-serif": ["DejaVu Sans"],  # wide, and comes with matplotlib: other type has room
    "axes.titlesize": "medium",
    "axes.titlelocation": "left",
    "axes.titlecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": SOFT,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.formatter.useoffset": False,
    "axes.ymargin": 0.12,
    "grid.color": LINE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "ytick.major.size": 0,
}


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
    hollow square, a heuristic a diamond.
    """
    with style.context(["default", STYLE]):
        axes = _axes(300, "time for one explanation (log scale)")
        axes.set_title(ARROWS[better])
        # A clock that shows nothing has no logarithm.
        dots = [Dot(d.name, max(d.x, 1e-3), d.y, d.low, d.high, d.standing) for d in dots]
        marks = [mark for dot in dots for mark in _dot(axes, dot)]
        _log_axis(axes, min(dot.x for dot in dots), max(dot.x for dot in dots))
        _place(axes, [_name(axes, d.x, d.y, d.name, _look(d)[1]) for d in dots], marks)
        return _svg(axes, f"{better} {dots}")


def course(
    steps: Sequence[int], values: Sequence[float], kept: int | None = None, title: str = "epoch"
) -> str:
    """Values over steps as a line; the step at index `kept` is marked as the one kept."""
    with style.context(["default", STYLE]):
        axes = _axes(200, title)
        axes.plot(steps, values, color=BLUE, linewidth=2)
        axes.set_xlim(min(steps) - 0.5, max(steps) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=ROUND, integer=True, min_n_ticks=1))
        if kept is not None:
            at = steps[kept], values[kept]
            mark = axes.plot(*at, "o", color=BROWN, markersize=9)
            name = _name(axes, *at, f"kept: {values[kept]:.3f}", BROWN)
            _place(axes, [name], mark, steps, values)
        return _svg(axes, f"{steps} {values} {kept} {title}")


def columns(names: Sequence[str], counts: Sequence[int], title: str) -> str:
    """A column for each name, as high as its count, which stands above it."""
    with style.context(["default", STYLE]):
        axes = _axes(200, title)
        bars = axes.bar(range(len(names)), counts, color=BLUE, width=0.6)
        axes.bar_label(bars, [str(count) for count in counts], padding=2, color=SOFT)
        axes.set_xlim(-0.7, len(names) - 0.3)
        axes.set_xticks(range(len(names)), names)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND, integer=True, min_n_ticks=1))
        return _svg(axes, f"{names} {counts} {title}")


def duration(milliseconds: float) -> str:
    """A time as people say it: 5 ms, 20 s."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:g} s"
    return f"{milliseconds:g} ms"


def _axes(height: float, title: str) -> Axes:
    axes = Figure((WIDTH / DPI, height / DPI)).subplots()
    axes.set_xlabel(title)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    return axes


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _log_axis(axes: Axes, least: float, most: float) -> None:
    """A log axis of times with room on both sides, and ticks at 1, 2 and 5 while these are few."""
    axes.set_xscale("log")
    axes.set_xlim(least / 2, most * 2)
    subs = (1.0,) if most > 30 * least else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))


def _look(dot: Dot) -> tuple[str, str]:
    return LOOKS.get(dot.standing, ("o", BLUE))


def _dot(axes: Axes, dot: Dot) -> list[Line2D]:
    (marker, colour), filled = _look(dot), dot.standing not in LOOKS
    inside = colour if filled else "white"
    return [
        *axes.plot([dot.x, dot.x], [dot.low, dot.high], color=colour, linewidth=1.5),
        *axes.plot(dot.x, dot.y, marker, ms=8, mew=2, mec=colour, mfc=inside),
    ]


def _name(axes: Axes, x: float, y: float, name: str, colour: str) -> Text:
    # A dollar would begin a formula.
    return axes.text(x, y, name, color=colour, ha="center", va="center", parse_math=False)


def _place(
    axes: Axes,
    names: list[Text],
    marks: Sequence[Line2D],
    x: Sequence[float] = (),
    y: Sequence[float] = (),
) -> None:
    """Move names off each other, off marks and off points (x, y), with a line where one is far."""
    figure = _figure(axes)
    for name in names:
        name.set_in_layout(False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names are placed on what is laid out by now
    back = axes.transData.inverted()  # adjustText takes boxes in data coordinates
    adjust_text(
        names,
        x=x,
        y=y,
        objects=[each.get_window_extent().transformed(back) for each in marks],
        ax=axes,
        iter_lim=500,  # not a time limit, which would draw another picture on a slower machine
        prevent_crossings=False,  # it swaps names on each other's places, and never ends
        expand=(1.08, 1.6),
        force_text=(0.2, 0.4),  # names are pushed off each other harder than off marks
        force_static=(0.05, 0.1),
        min_arrow_len=12,
        arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.75},
    )


def _svg(axes: Axes, salt: str) -> str:
    """The figure as an element to be put on a page: no width, height, or names that may clash.

    salt: what sets the ids of this drawing apart from those of others on the page.
    """
    file = StringIO()
    about = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": salt}):
        _figure(axes).savefig(file, format="svg", transparent=True, metadata=about)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # it would style the page
    return re.sub(r'<g id="[\w.]+"', "<g", svg)
