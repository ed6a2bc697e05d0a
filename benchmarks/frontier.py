"""What nothing else beats in both time and quality, the chain that is best, and their picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from points import COMPILED, EAGER, FP32, SHAPLEY

from xrec.bench.front import front
from xrec.files import written
from xrec.report.canvas import DPI, WIDE, log_axis, styled
from xrec.report.drawing import Dot, draw, look
from xrec.report.names import name, place

LOSS = 0.02  # of NDCG@10, relative, that a chain may take
BYTES, SPEED, SPEED_COMPILED = 4, 3, 1  # that are wished for
SHARP = 2  # pixels of the picture to one of the page
BAND = "#f0c987"  # the front, as other charts of xrec have it

Rows = Sequence[Mapping[str, Any]]


def best(points: Rows) -> dict[str, Any]:
    """The figures of the chain that, of those which are small and quick enough, explains alike.

    That is by Shapley values, among those that lose little of the test users' NDCG@10. Where none
    is small and quick enough, it is the one that is nearest to it; where none loses little, the one
    that loses least. It is chosen by the figures that it is told with, which flatters them.
    """
    chains = [each for each in points if each["chain"] not in FP32]
    if not chains:
        return {}
    near = [each for each in chains if each["loss"] <= LOSS]
    enough = [each for each in near if _ahead(each) >= 1]
    if enough:
        chosen = max(enough, key=lambda each: float(each[SHAPLEY]))
    else:
        chosen = max(near, key=_ahead) if near else min(chains, key=lambda e: float(e["loss"]))
    return {
        "chain": chosen["chain"],
        "bytes_ratio": round(chosen["bytes_ratio"], 2),
        "speed_ratio": round(chosen[f"wall times {EAGER}"], 2),
        "speed_ratio_compiled": round(chosen[f"wall times {COMPILED}"], 2),
        "ndcg_loss": round(chosen["loss"], 4),
        "ndcg_loss_validation": round(chosen["validation_loss"], 4),
        "explanation_rank_correlation": round(chosen[SHAPLEY], 3),
    }


def _ahead(point: Mapping[str, Any]) -> float:
    """The least of what it reaches over what is wished for: 1 if it is small and quick enough."""
    return min(
        point["bytes_ratio"] / BYTES,
        point[f"wall times {EAGER}"] / SPEED,
        point[f"wall times {COMPILED}"] / SPEED_COMPILED,
    )


def fronts(points: Rows) -> list[str]:
    """The names of those that nothing else beats in both time and quality, quickest first."""
    return front({each["chain"]: (each["ms"], each["ndcg10"]) for each in points}, "higher")


def picture(worlds: Mapping[str, Rows], path: Path) -> None:
    """Quality against time, a chart a world; fp32 models are hollow; the band is the front."""
    with styled():
        figure = Figure((WIDE / DPI, 330 * ((len(worlds) + 1) // 2) / DPI))
        charts = figure.subplots((len(worlds) + 1) // 2, 2, squeeze=False).flatten()
        for axes in charts[len(worlds) :]:
            axes.remove()
        drawn = []
        for axes, (world, points) in zip(charts, worlds.items(), strict=False):
            axes.set_title(f"{world}: NDCG@10, ↑ better")
            axes.set_xlabel("time to rank for one user (log scale)")
            by = {each["chain"]: each for each in points}
            band = [(by[chain]["ms"], by[chain]["ndcg10"]) for chain in fronts(points)]
            axes.step(*zip(*band, strict=True), where="post", color=BAND, linewidth=6, zorder=0)
            dots = [_dot(each) for each in points]
            marks = [mark for dot in dots for mark in draw(axes, dot)]
            log_axis(axes, min(dot.x for dot in dots), max(dot.x for dot in dots))
            names = [name(axes, dot.x, dot.y, dot.name, look(dot)[1]) for dot in dots]
            drawn.append((axes, names, marks))
        for each in drawn:
            place(*each)
        figure.patch.set_facecolor("white")
        with written(path) as partial:
            figure.savefig(partial, format="png", dpi=DPI * SHARP)


def _dot(point: Mapping[str, Any]) -> Dot:
    gap = point["ndcg10"] - point["gap"]
    return Dot(
        f"{point['chain']} ({point['bytes'] / 1e6:.3g} MB)",
        point["ms"],
        point["ndcg10"],
        gap + point["gap low"],
        gap + point["gap high"],
        "heuristic" if point["chain"] in FP32 else "",
    )
