"""A square of numbers from -1 to 1, such as how alike two orders are, as a map of their heat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from xrec.report.canvas import BLUE, SOFT, WIDE, figure_of, sheet, styled, svg

HEAT = LinearSegmentedColormap.from_list("heat", ["#b5472c", "#ffffff", BLUE])
CELL = 30  # pixels
DARK = 0.6  # what is further than this from 0 has white figures


def matrix(names: Sequence[str], values: np.ndarray) -> str:
    """The half of values (N, N) below the diagonal: blue towards 1, red towards -1.

    Rows have their names, columns the numbers of these; NaN is an empty cell.
    """
    with styled():
        count = len(names)
        axes = sheet(CELL * count + 40, "", WIDE)
        axes.grid(False)
        below = np.tril(np.ones((count, count), dtype=bool), -1)
        shown = np.ma.masked_where(~below | np.isnan(values), values)
        # Vectors, as the page embeds no pixels.
        axes.pcolormesh(shown, cmap=HEAT, vmin=-1, vmax=1, edgecolors="white", linewidth=1)
        for row, column in np.argwhere(below & ~np.isnan(values)).tolist():
            _figure(axes, row, column, float(values[row, column]))
        _named(axes, names)
        return svg(figure_of(axes), f"{names} {values.tolist()}", halo=False)


def _figure(axes: Axes, row: int, column: int, value: float) -> None:
    said = f"{round(value, 2) + 0.0:.2f}".replace("-", "−").replace("0.", ".", 1)
    colour = "white" if abs(value) > DARK else "black"
    axes.text(column + 0.5, row + 0.5, said, ha="center", va="center", fontsize=10, color=colour)


def _named(axes: Axes, names: Sequence[str]) -> None:
    """Row names on the left, and the number of each column above its cells, on the diagonal."""
    count = len(names)
    axes.set_yticks(
        [at + 0.5 for at in range(count)], [f"{n}  {at + 1}" for at, n in enumerate(names)]
    )
    axes.set_xticks([])
    for at in range(count - 1):
        axes.text(at + 0.5, at + 0.7, str(at + 1), ha="center", va="center", color=SOFT)
    axes.set_aspect("equal", anchor="W")
    axes.set_xlim(0, count)
    axes.set_ylim(count, 0)
    axes.spines["bottom"].set_visible(False)
