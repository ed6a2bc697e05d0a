"""Figures as SVG text, in one style, drawn without a screen."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

STYLE: Any = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5b6775",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#dde3ea",
    "grid.linewidth": 0.6,
    "svg.fonttype": "none",  # words stay words: they can be searched, and read aloud
    "svg.hashsalt": "xrec",
}


@contextmanager
def figure(width: float, height: float, columns: int = 1) -> Iterator[Sequence[Any]]:
    """Axes side by side in a figure of width × height inches; `drawn` gives its SVG."""
    with pyplot.rc_context(STYLE):
        _, axes = pyplot.subplots(
            1, columns, figsize=(width, height), layout="constrained", squeeze=False
        )
        try:
            yield axes[0]
        finally:
            pyplot.close()


def drawn() -> str:
    """The SVG element of the figure at hand, without what an HTML page has no use for."""
    text = io.StringIO()
    pyplot.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
