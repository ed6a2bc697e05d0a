"""Putting names beside points, where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text

from xrec.report.canvas import SOFT, figure_of

AWAY = (5, 12, 20, 30, 42, 56, 72)  # pixels from a point at which a name is tried
TURNS = 24  # directions in which it is
FAR = 12  # pixels from which on a line leads from a point to its name
ROUNDS = 5  # in which each name may move once more, now that the others have their places
#: What a pixel of a name over another name, over a mark, beyond the axes, and of distance costs;
#: then what a point below it costs, and a piece of its line below something.
OVER, ON, OUT, OFF, POINT, CROSSING = 10.0, 6.0, 20.0, 1.0, 25.0, 12.0


def name(axes: Axes, x: float, y: float, said: str, colour: str) -> Text:
    """Words on a point, which `place` then puts beside it."""
    # A dollar would begin a formula.
    return axes.text(x, y, said, color=colour, ha="center", va="center", parse_math=False)


def place(
    axes: Axes,
    names: Sequence[Text],
    marks: Sequence[Line2D],
    x: Sequence[float] = (),
    y: Sequence[float] = (),
) -> None:
    """Move names beside their points, off each other, off marks and off other points (x, y).

    Each is put where it costs least, then again as the others lie by then; a line leads to one
    that is far. The axes' limits must be final. All boxes are left, bottom, right, top in pixels.
    """
    figure = figure_of(axes)
    for each in names:
        each.set_in_layout(False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names are placed on what is laid out by now
    tried = [_Tried(axes, each) for each in names]
    others = axes.transData.transform(np.column_stack([x, y])) if len(x) else np.empty((0, 2))
    fixed = np.array([each.get_window_extent().extents for each in marks]).reshape(-1, 4)
    bounds = np.array(axes.get_window_extent().extents)
    alone = [each.alone(_grown(fixed, 2), others, bounds) for each in tried]
    taken: dict[int, int] = {}
    for _ in range(ROUNDS):
        before = dict(taken)
        # The name that has the fewest good places goes first.
        for at in sorted(range(len(tried)), key=lambda at: -float(np.median(alone[at]))):
            there = [tried[o].boxes[put] for o, put in taken.items() if o != at]
            beside = tried[at].beside(np.array(there).reshape(-1, 4))
            taken[at] = int((alone[at] + beside).argmin())
        if taken == before:
            break
    for at, place in taken.items():
        tried[at].put(axes, place)


class _Tried:
    """A name, and the boxes (places, 4) in which it could lie."""

    def __init__(self, axes: Axes, text: Text) -> None:
        self.text = text
        self.point = axes.transData.transform(text.get_position())
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2
        angle = np.linspace(0, 2 * np.pi, TURNS, endpoint=False)
        way = np.column_stack([np.cos(angle), np.sin(angle)])
        # Beside the point rather than around it: a wide name is moved by its width.
        centre = np.concatenate([way * (half + away) for away in AWAY]) + self.point
        self.boxes = np.concatenate([centre - half, centre + half], axis=1)
        self.ends = np.clip(self.point, self.boxes[:, :2], self.boxes[:, 2:])
        self.far = np.linalg.norm(self.ends - self.point, axis=1)

    def alone(self, marks: np.ndarray, points: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """(places,) what each costs, whatever the other names do."""
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        outside = np.maximum(bounds[:2] - low, 0) + np.maximum(high - bounds[2:], 0)
        grown = _grown(self.boxes, 2)
        below = ((points >= grown[:, None, :2]) & (points <= grown[:, None, 2:])).all(2).sum(1)
        strange = marks[~_holds(marks, self.point)]  # its line begins on its own mark
        return (
            OFF * self.far
            + OUT * outside.sum(1)
            + ON * _common(self.boxes, marks)
            + POINT * below
            + CROSSING * self._crossed(strange)
        )

    def beside(self, names: np.ndarray) -> np.ndarray:
        """(places,) what the other names make each cost."""
        grown = _grown(names, 2)
        return OVER * _common(self.boxes, grown) + CROSSING * self._crossed(grown)

    def _crossed(self, boxes: np.ndarray) -> np.ndarray:
        """(places,) the tenths of the line to each that lie within other boxes."""
        if not len(boxes):
            return np.zeros(len(self.boxes))
        along = np.linspace(0.1, 1, 10)[:, None, None] * (self.ends - self.point) + self.point
        inside = (along[:, :, None] >= boxes[:, :2]) & (along[:, :, None] <= boxes[:, 2:])
        crossed: np.ndarray = inside.all(3).any(2).sum(0) * (self.far > FAR)
        return crossed

    def put(self, axes: Axes, place: int) -> None:
        """Move it there, with a line to it if that is far."""
        back = axes.transData.inverted().transform
        low, high = self.boxes[place, :2], self.boxes[place, 2:]
        self.text.set_position(tuple(back((low + high) / 2)))
        if self.far[place] > FAR:
            x, y = zip(*back([self.ends[place], self.point]), strict=True)
            axes.add_artist(Line2D(x, y, color=SOFT, linewidth=0.75, zorder=1.5))


def _grown(boxes: np.ndarray, by: float) -> np.ndarray:
    grown: np.ndarray = boxes + np.array([-by, -by, by, by])
    return grown


def _holds(boxes: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.all((point >= boxes[:, :2]) & (point <= boxes[:, 2:]), axis=1)


def _common(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(boxes,) the square pixels of each that others cover."""
    if not len(others):
        return np.zeros(len(boxes))
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    covered: np.ndarray = np.maximum(high - low, 0).prod(2).sum(1)
    return covered
