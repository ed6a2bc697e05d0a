"""Charts as SVG text: small, drawn at the size they are read at, in the colours of the page.

Words stay words: they can be searched and read aloud, and are set in the page's own type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, floor, log10

from xrec.report.labels import Box, leader, place

WIDTH = 360.0  # of a drawing, in units that are about a pixel on a phone
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 22.0, 42.0  # margins around the plot
SIZE = 12  # of type
WIDE = 0.6 * SIZE  # of a letter, on the whole
INK, SOFT, LINE, BLUE, BROWN = "#1c2530", "#56616e", "#dde3ea", "#1f6aa5", "#9a4f0f"
HALO = 'stroke="#fff" stroke-width="3" paint-order="stroke"'  # words stay clear of lines
ARROWS = {"higher": "↑ better", "lower": "↓ better"}


@dataclass(frozen=True)
class Dot:
    """A named point at (x, y) with the interval from low to high; `standing` gives its shape."""

    name: str
    x: float
    y: float
    low: float
    high: float
    standing: str = ""


@dataclass(frozen=True)
class Plot:
    """Where numbers lie on a drawing of WIDTH × height; x is a logarithm on a log axis."""

    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False

    @property
    def room(self) -> Box:
        """The rectangle between the axes."""
        return Box(LEFT, TOP, WIDTH - RIGHT, self.height - BOTTOM)

    def across(self, value: float) -> float:
        """Where a value lies on the x axis."""
        low, high = self.x
        share = ((log10(value) if self.log else value) - low) / (high - low)
        return LEFT + share * (WIDTH - RIGHT - LEFT)

    def down(self, value: float) -> float:
        """Where a value lies on the y axis."""
        low, high = self.y
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - BOTTOM - TOP)


def scatter(dots: Sequence[Dot], better: str) -> str:
    """Scores against milliseconds on a log axis, with error bars and a name at each point.

    `better` is the way that the score gets better: "higher" or "lower". Blue discs; a floor is a
    hollow square, a heuristic a diamond.
    """
    # A clock that shows nothing has no logarithm.
    dots = [Dot(d.name, max(d.x, 1e-3), d.y, d.low, d.high, d.standing) for d in dots]
    times = [log10(dot.x) for dot in dots]
    scores = [value for dot in dots for value in (dot.low, dot.high)]
    plot = Plot(300, _padded(times, 0.12, 0.3), _padded(scores, 0.08, 0.01), log=True)
    parts = _axes(plot, _log_ticks(*plot.x), duration, "time for one explanation (log scale)")
    parts.append(_text(4, 12, ARROWS[better], fill=SOFT))
    parts += [part for dot in dots for part in _dot(plot, dot)]
    return _svg(plot, [*parts, *_names(plot, dots)])


def course(steps: Sequence[int], values: Sequence[float], kept: int | None = None) -> str:
    """Values over epochs as a line; the step at index `kept` is marked as the one kept."""
    plot = Plot(200, _padded(steps, 0.03, 0.5), _padded(values, 0.08, 0.01))
    ticks = sorted(
        {round(tick) for tick in _ticks(*plot.x)} & set(range(min(steps), max(steps) + 1))
    )
    parts = _axes(plot, list(dict.fromkeys(ticks)), str, "epoch")
    line = [(plot.across(x), plot.down(y)) for x, y in zip(steps, values, strict=True)]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
    parts.append(f'<polyline points="{joined}" fill="none" stroke="{BLUE}" stroke-width="2"/>')
    if kept is None:
        return _svg(plot, parts)
    (x, y), name = line[kept], f"kept: {values[kept]:.3f}"
    along = [Box(a, min(b, d) - 2, c, max(b, d) + 2) for (a, b), (c, d) in pairwise(line)]
    box = place([(x, y)], [_size(name)], along, plot.room)[0]
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{BROWN}"/>')
    return _svg(plot, [*parts, _label(box, (x, y), name, BROWN)])


def duration(milliseconds: float) -> str:
    """A time as people say it: 5 ms, 20 s."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:g} s"
    return f"{milliseconds:g} ms"


def _svg(plot: Plot, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {WIDTH:g} {plot.height:g}"'
    return f'<svg {box} font-size="{SIZE}" stroke-linecap="round">{"".join(parts)}</svg>'


def _axes(plot: Plot, ticks: Sequence[float], name: Callable[..., str], title: str) -> list[str]:
    room, marks = plot.room, _ticks(*plot.y)
    digits = max(0, -floor(log10(marks[1] - marks[0]))) if len(marks) > 1 else 2
    parts = []
    for mark in marks:
        at = plot.down(mark)
        parts.append(_line(room.left, at, room.right, at, LINE))
        shown = f"{mark:.{digits}f}".replace("-", "−")
        parts.append(_text(room.left - 6, at + 4, shown, "end", SOFT))
    parts.append(_line(room.left, room.bottom, room.right, room.bottom, SOFT))
    for tick in ticks:
        at = plot.across(tick)
        parts.append(_line(at, room.bottom, at, room.bottom + 4, SOFT))
        parts.append(_text(at, room.bottom + 17, name(tick), "middle", SOFT))
    middle = (room.left + room.right) / 2
    return [*parts, _text(middle, plot.height - 5, title, "middle", SOFT)]


def _dot(plot: Plot, dot: Dot) -> list[str]:
    x, y, colour = plot.across(dot.x), plot.down(dot.y), _colour(dot)
    bar = _line(x, plot.down(dot.low), x, plot.down(dot.high), colour, 1.5)
    if dot.standing == "floor":
        box = f'x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"'
        return [bar, f'<rect {box} fill="#fff" stroke="{colour}" stroke-width="2"/>']
    if dot.standing == "heuristic":
        path = f"M{x:.1f},{y - 6.5:.1f}l6.5,6.5l-6.5,6.5l-6.5,-6.5z"
        return [bar, f'<path d="{path}" fill="#fff" stroke="{colour}" stroke-width="2"/>']
    return [bar, f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>']


def _names(plot: Plot, dots: Sequence[Dot]) -> list[str]:
    """The dots' names, clear of each other, with a line to a dot that is not near."""
    at = [(plot.across(dot.x), plot.down(dot.y)) for dot in dots]
    marks = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in at]
    bars = [
        Box(x - 2, plot.down(dot.high), x + 2, plot.down(dot.low))
        for (x, _), dot in zip(at, dots, strict=True)
    ]
    boxes = place(at, [_size(dot.name) for dot in dots], [*marks, *bars], plot.room)
    parts: list[str] = []
    for (x, y), dot, box in zip(at, dots, boxes, strict=True):
        if line := leader((x, y), box):
            parts.insert(0, _line(*line[0], *line[1], _colour(dot), 0.75))
        parts.append(_label(box, (x, y), dot.name, _colour(dot)))
    return parts


def _colour(dot: Dot) -> str:
    return {"floor": SOFT, "heuristic": BROWN}.get(dot.standing, BLUE)


def _size(name: str) -> tuple[float, float]:
    return WIDE * len(name), SIZE + 2.0


def _label(box: Box, point: tuple[float, float], text: str, fill: str) -> str:
    """A name in its box, at the side where its point is: its real width is not known here."""
    if point[0] < box.left:
        return _text(box.left, box.bottom - 3.5, text, "start", fill)
    if point[0] > box.right:
        return _text(box.right, box.bottom - 3.5, text, "end", fill)
    return _text((box.left + box.right) / 2, box.bottom - 3.5, text, "middle", fill)


def _line(x: float, y: float, to_x: float, to_y: float, stroke: str, width: float = 1) -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {ends} stroke="{stroke}" stroke-width="{width:g}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", fill: str = INK) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {at} fill="{fill}" {HALO}>{escape(text)}</text>'


def _padded(values: Sequence[float], share: float, least: float) -> tuple[float, float]:
    """The range of values and a share of it on either side, `least` if they are all alike."""
    low, high = min(values), max(values)
    more = max(share * (high - low), least)
    return low - more, high + more


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers from low to high."""
    rough = (high - low) / 6
    size = 10.0 ** floor(log10(rough))
    step = next(size * by for by in (1, 2, 5, 10) if size * by >= rough)
    return [step * at for at in range(ceil(low / step), floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from 10**low to 10**high; 2 and 5 times them too where these are few."""
    powers = range(floor(low), ceil(high) + 1)
    factors = (1,) if high - low > 2.5 else (1, 2, 5)
    values = [by * 10.0**power for power in powers for by in factors]
    return [value for value in values if low <= log10(value) <= high]
