"""What every chart is drawn on: its size, type and colours, its axes, and its SVG text.

Charts are drawn at the size they are read at, in the colours of the page. Words stay words: they
can be searched and read aloud, and the page sets them in its own type.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from io import StringIO

from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

WIDTH, WIDE = 360, 960  # of a drawing, and of one that has the page's width
DPI = 72  # at which a drawing's units are the page's pixels
SOFT, LINE, BLUE, BROWN, GREEN = "#56616e", "#dde3ea", "#1f6aa5", "#9a4f0f", "#3b6b2e"
ROUND = [1, 2, 5, 10]  # what the ticks are multiples of
ARROWS = {"higher": "↑ better", "lower": "↓ better"}
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


def styled() -> AbstractContextManager[None]:
    """The style that everything of a chart is made in."""
    return style.context(["default", STYLE])


def sheet(height: float, title: str, width: float = WIDTH) -> Axes:
    """Axes of a drawing of that size, the title below them."""
    axes = Figure((width / DPI, height / DPI)).subplots()
    axes.set_xlabel(title)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    return axes


def log_axis(axes: Axes, least: float, most: float) -> None:
    """A log axis of times with room on both sides, and ticks at 1, 2 and 5 while these are few."""
    axes.set_xscale("log")
    axes.set_xlim(least / 2, most * 2)
    subs = (1.0,) if most > 30 * least else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))


def duration(milliseconds: float) -> str:
    """A time as people say it: 5 ms, 20 s."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:g} s"
    return f"{milliseconds:g} ms"


def svg(figure: Figure, salt: str, halo: bool = True) -> str:
    """A figure as an element to be put on a page: no width, height, or names that may clash.

    salt: what sets the ids of this drawing apart from those of others on the page. halo: whether
    words stand out from lines below them by an edge of paper, which words on a colour do not need.
    """
    file = StringIO()
    about = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": salt}):
        figure.savefig(file, format="svg", transparent=True, metadata=about)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    if not halo:
        text = text.replace("<svg ", '<svg class="bare" ', 1)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)  # it would style the page
    return re.sub(r'<g id="[\w.]+"', "<g", text)


def figure_of(axes: Axes) -> Figure:
    """The figure that axes are on."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure
