"""Where to write the names of points so that none covers another, or a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, cos, dist, pi, sin

Point = tuple[float, float]

REACH, STEP = 9, 6  # how far a name stands from its point at the nearest, and farther by turns
FAR = 150  # no name stands farther
NEAR = 16  # beyond it a line leads from the point to its name
SLIGHT = 0.1  # how bad it is that a leading line crosses a mark, beside names that cover
#: Directions in the order of liking: right, left, above, below, then between.
TURNS = [0, 8, 4, 12, 2, 14, 6, 10, 1, 15, 7, 9, 3, 13, 5, 11]


@dataclass(frozen=True)
class Box:
    """A rectangle; down is positive, as on a screen."""

    left: float
    top: float
    right: float
    bottom: float

    def common(self, other: Box) -> float:
        """The area that two boxes share."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(wide, 0) * max(high, 0)

    def within(self, other: Box) -> bool:
        """Whether this box lies wholly inside another."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )

    def nearest(self, x: float, y: float) -> Point:
        """The point of the box that is nearest to (x, y)."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


def place(
    points: Sequence[Point], sizes: Sequence[Point], taken: Sequence[Box], room: Box
) -> list[Box]:
    """A box for the name of each point, of the width and height that `sizes` gives it.

    Names are placed in turn, each at the nearest place in `room` that is clear of `taken`, of the
    names before it and of their leading lines, or where it covers least if no place is clear.
    """
    names: list[Box] = []
    lines: list[Box] = []
    for point, size in zip(points, sizes, strict=True):
        places = [box for box in _around(point, size) if box.within(room)]
        box = _clearest(point, places, taken, [*names, *lines]) or next(_around(point, size))
        names.append(box)
        lines += _beads(leader(point, box))
    return names


def leader(point: Point, box: Box) -> tuple[Point, Point] | None:
    """The ends of the line from a point to its name, None where the name is near enough."""
    end = box.nearest(*point)
    return None if dist(point, end) <= NEAR else (point, end)


def _clearest(
    point: Point, places: Sequence[Box], taken: Sequence[Box], drawn: Sequence[Box]
) -> Box | None:
    """The first place that, with its leading line, covers least."""
    least, found = float("inf"), None
    for box in places:
        covered = _common([box], taken) + _common([box], drawn)
        if covered < least:
            line = _beads(leader(point, box))
            covered += _common(line, drawn) + SLIGHT * _common(line, taken)
        if covered < least:
            least, found = covered, box
        if not covered:
            break
    return found


def _common(some: Sequence[Box], others: Sequence[Box]) -> float:
    return sum(box.common(other) for box in some for other in others)


def _beads(line: tuple[Point, Point] | None) -> list[Box]:
    """A line as small boxes along it; its first part is left out, which lies on its point."""
    if line is None:
        return []
    (x, y), (to_x, to_y) = line
    count = ceil(dist(*line) / 3)
    along = [at / count for at in range(3, count + 1)]
    spots = [(x + share * (to_x - x), y + share * (to_y - y)) for share in along]
    return [Box(x - 1, y - 1, x + 1, y + 1) for x, y in spots]


def _around(point: Point, size: Point) -> Iterator[Box]:
    """Boxes ever farther from a point, at sixteen turns each time."""
    (x, y), (wide, high) = point, size
    for reach in range(REACH, FAR, STEP):
        for turn in TURNS:
            east, south = cos(turn * pi / 8), -sin(turn * pi / 8)
            left = x + east * (reach + wide / 2) - wide / 2
            top = y + south * (reach + high / 2) - high / 2
            yield Box(left, top, left + wide, top + high)
