"""Curves, the heat of a matrix, and small multiples: marks lie where their numbers say."""

from __future__ import annotations

import math
import random
import re
from itertools import combinations

import numpy as np
import pytest
from reading import Node, read
from test_drawing import box, common, ends, marks, numbers, stroked, texts

from xrec.report.canvas import BLUE, BROWN, LINE, SOFT
from xrec.report.curves import FRONT, Curve, curves
from xrec.report.drawing import Dot
from xrec.report.matrix import matrix
from xrec.report.multiples import ACROSS, Panel, multiples


def curve(name: str, *points: tuple[float, float], standing: str = "", faint: bool = False):
    x, y = points[-1]
    return Curve(Dot(name, x, y, y - 0.02, y + 0.02, standing), points, faint)


# Curves


def test_a_line_joins_the_budgets_and_the_chosen_one_is_large() -> None:
    tree = read(curves([curve("a", (1, 0.2), (10, 0.4), (100, 0.6))], [], "higher"))
    (line,) = [each for each in ends(tree, BLUE) if len(each) == 3]
    (ax, ay), (bx, by), (cx, cy) = line
    assert bx - ax == pytest.approx(cx - bx, abs=0.01)  # a log axis
    assert ay - by == pytest.approx(by - cy, abs=0.01)
    assert [cx, cy] in [pytest.approx(mark, abs=0.01) for mark in marks(tree)]
    assert "a" in texts(tree)


def test_the_front_steps_from_each_to_the_next() -> None:
    lines = [curve("a", (1, 0.2)), curve("b", (10, 0.4)), curve("c", (100, 0.3))]
    tree = read(curves(lines, [(1, 0.2), (10, 0.4)], "higher"))
    ((a, corner, b),) = [each for each in ends(tree, FRONT) if len(each) > 2]
    places = dict(zip("abc", big(tree), strict=True))
    assert a == pytest.approx(places["a"], abs=0.01)
    assert b == pytest.approx(places["b"], abs=0.01)
    assert corner == pytest.approx((places["b"][0], places["a"][1]), abs=0.01)


def big(tree: Node) -> list[list[float]]:
    """Where the large marks lie, those of the settings that were chosen."""
    shapes = {path.attrs["id"]: path.attrs["d"] for path in tree.all("path") if "id" in path.attrs}
    found = []
    for use in stroked(tree, "use", BLUE):
        shape = shapes[use.attrs["xlink:href"].lstrip("#")]
        if float(re.search(r"M 0 ([\d.]+)", shape)[1]) > 3:
            found.append(numbers(use, "x", "y"))
    return found


def test_the_others_are_faint_and_have_no_names_where_one_is_told() -> None:
    lines = [curve("a", (1, 0.2), (10, 0.4)), curve("b", (2, 0.3), (20, 0.5), faint=True)]
    tree = read(curves(lines, [(1, 0.2)], "lower"))
    assert "a" in texts(tree)
    assert "b" not in texts(tree)
    assert [line for line in ends(tree, LINE) if line[0][1] != line[-1][1]]
    assert "↓ better" in texts(tree)


def test_a_time_of_nothing_and_no_front_can_be_drawn() -> None:
    tree = read(curves([curve("a", (0.0, 0.5))], [], "higher"))
    assert all(math.isfinite(number) for mark in marks(tree) for number in mark)


@pytest.mark.parametrize("seed", [0, 1])
def test_fourteen_names_cover_neither_each_other_nor_a_mark(seed: int) -> None:
    generator, lines = random.Random(seed), []
    for at in range(14):
        most, score = 10 ** generator.uniform(0, 2.5), generator.uniform(0.3, 0.8)
        points = [(most / 4, score - 0.1), (most / 2, score - 0.03), (most, score)]
        lines.append(curve(f"an explainer {at}", *points[-1 if at % 2 else 0 :]))
    tree = read(curves(lines, [points[0], points[-1]], "higher"))
    boxes = [box(texts(tree)[line.chosen.name]) for line in lines]
    assert max(common(one, other) for one, other in combinations(boxes, 2)) == 0
    for x, y in big(tree):
        disc = (x - 4, y - 4, x + 4, y + 4)
        assert max(common(name, disc) for name in boxes) < 1
    assert all(left >= 0 and right <= 960 for left, _, right, _ in boxes)


# Matrix


def test_a_matrix_shows_the_half_below_its_diagonal() -> None:
    values = np.array([[1, 0.5, -0.25], [0.5, 1, np.nan], [-0.25, np.nan, 1]])
    tree = read(matrix(["one", "two", "three"], values))
    said = [node.text for node in tree.all("text")]
    assert [figure for figure in said if "." in figure] == [".50", "−.25"]
    assert {"one  1".replace("  ", " "), "two 2", "three 3"} <= set(said)
    filled = [re.search(r"fill: (#\w+)", p.attrs.get("style", "")) for p in tree.all("path")]
    colours = [found[1] for found in filled if found]
    blue, red = (
        next(c for c in colours if int(c[1:3], 16) < int(c[5:7], 16) and c != SOFT),
        next(c for c in colours if int(c[1:3], 16) > int(c[5:7], 16)),
    )
    assert blue != red
    assert not tree.all("image")
    assert tree.one("svg").attrs["class"] == "bare"


@pytest.mark.parametrize("count", [2, 26])
def test_figures_of_a_matrix_do_not_touch(count: int) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (count, count))
    tree = read(matrix([f"measure {at}" for at in range(count)], values))
    cells = [node for node in tree.all("text") if re.fullmatch(r"−?1?\.\d\d", node.text)]
    assert len(cells) == count * (count - 1) // 2
    boxes = [box(cell) for cell in cells]
    assert all(common(one, other) == 0 for one, other in combinations(boxes[:200], 2))


# Small multiples


def test_a_panel_has_a_dot_for_each_value_and_the_line_of_the_first() -> None:
    panel = Panel("deletion", "lower", {"as trained": [1.0, 2.0, 4.0], "small": [2.0, 3.0, 3.5]})
    tree = read(multiples(["as trained", "small"], [panel]))
    assert {"as trained", "small", "deletion ↓"} <= set(texts(tree))
    circles = [numbers(use, "x", "y") for use in stroked(tree, "use", BLUE)]
    assert len(circles) == 6
    rows = {y for _, y in circles}
    assert len(rows) == 2
    first = sorted(x for x, y in circles if y == min(rows))  # the first variant is on top
    assert (first[2] - first[1]) == pytest.approx(2 * (first[1] - first[0]), rel=0.01)
    ((bottom, top),) = list(ends(tree, BROWN))
    assert bottom[0] == pytest.approx(first[1], abs=0.01)  # the median of the first
    assert top[0] == bottom[0]


def test_panels_stand_side_by_side_and_may_lack_values() -> None:
    panels = [
        Panel(f"measure {at}", "", {"a": [1.0], "b": [] if at else [math.nan]})
        for at in range(ACROSS + 1)
    ]
    tree = read(multiples(["a", "b"], panels))
    heads = [texts(tree)[panel.title] for panel in panels]
    assert len({numbers(head, "y")[0] for head in heads}) == 2
    assert len(stroked(tree, "use", BLUE)) == ACROSS + 1


def test_drawings_are_the_same_each_time() -> None:
    lines = [curve(f"e{at}", (at + 1, 0.3), (2 * at + 2, 0.4 + at / 100)) for at in range(6)]
    assert curves(lines, [(1, 0.3)], "higher") == curves(lines, [(1, 0.3)], "higher")
    values = np.eye(3)
    assert matrix(["a", "b", "c"], values) == matrix(["a", "b", "c"], values)
