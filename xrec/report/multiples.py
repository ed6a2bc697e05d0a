"""Small multiples: a panel for each measure, a row for each variant, a dot for each explainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullLocator

from xrec.report.canvas import BLUE, BROWN, DPI, ROUND, SOFT, WIDE, styled, svg

ACROSS = 4  # panels
ROW, AROUND = 24, 56  # pixels for each variant, and for what is around them
SIGNS = {"higher": " ↑", "lower": " ↓"}


@dataclass(frozen=True)
class Panel:
    """A measure: what each variant scores, one figure for each explainer or one for all.

    better: "higher", "lower", or "" where neither is.
    """

    title: str
    better: str
    values: Mapping[str, Sequence[float]]


def multiples(variants: Sequence[str], panels: Sequence[Panel]) -> str:
    """Panels side by side; the line is the median of the first variant, the tick that of each."""
    with styled():
        down = ceil(len(panels) / ACROSS)
        size = (WIDE / DPI, down * (ROW * len(variants) + AROUND) / DPI)
        figure = Figure(size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
        every = figure.subplots(down, ACROSS, squeeze=False, sharey=True).flatten()
        for axes, panel in zip(every, panels, strict=False):
            _panel(axes, variants, panel)
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        return svg(figure, f"{variants} {panels}")


def _panel(axes: Axes, variants: Sequence[str], panel: Panel) -> None:
    axes.set_title(panel.title + SIGNS.get(panel.better, ""), parse_math=False)
    axes.set_yticks(range(len(variants)), variants, parse_math=False)
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.grid(axis="y", visible=True)
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=ROUND))
    axes.xaxis.set_minor_locator(NullLocator())
    for at, variant in enumerate(variants):
        known = [value for value in panel.values.get(variant, ()) if not np.isnan(value)]
        if not known:
            continue
        middle = float(np.median(known))
        if at == 0:
            axes.axvline(middle, color=BROWN, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.plot(known, [at] * len(known), "o", ms=5, mew=1, mec=BLUE, mfc="none", alpha=0.6)
        axes.plot([middle] * 2, [at - 0.33, at + 0.33], color=SOFT, linewidth=2.5)
