"""Charts: marks lie where their numbers say, and names cover nothing."""

from __future__ import annotations

import math
import random
import re
from itertools import combinations

import pytest
from reading import Node, read

from xrec.report.drawing import LEFT, RIGHT, SIZE, WIDTH, Dot, course, duration, scatter
from xrec.report.labels import NEAR, Box, leader, place

ROOM = Box(44, 22, 350, 258)


def dot(name: str, x: float, y: float, standing: str = "", spread: float = 0.1) -> Dot:
    return Dot(name, x, y, y - spread, y + spread, standing)


def numbers(node: Node, *names: str) -> list[float]:
    return [float(node.attrs[name]) for name in names]


def texts(tree: Node) -> dict[str, Node]:
    return {node.text: node for node in tree.all("text")}


# Where marks lie


def test_times_lie_on_a_log_axis_and_scores_on_a_plain_one() -> None:
    dots = [dot("a", 1, 0.0), dot("b", 10, 0.5), dot("c", 100, 1.0)]
    circles = read(scatter(dots, "higher")).all("circle")
    (ax, ay), (bx, by), (cx, cy) = (numbers(c, "cx", "cy") for c in circles)
    assert bx - ax == pytest.approx(cx - bx, abs=0.11)
    assert ay - by == pytest.approx(by - cy, abs=0.11)
    assert LEFT < ax < cx < WIDTH - RIGHT
    assert ay > cy  # up is less, on a screen


def test_the_axis_agrees_with_the_marks() -> None:
    tree = read(scatter([dot("a", 10, 0.4), dot("b", 100, 0.8)], "higher"))
    words = texts(tree)
    (ax, ay), (bx, by) = (numbers(c, "cx", "cy") for c in tree.all("circle"))
    assert float(words["10 ms"].attrs["x"]) == pytest.approx(ax, abs=0.11)
    assert float(words["100 ms"].attrs["x"]) == pytest.approx(bx, abs=0.11)
    assert float(words["0.4"].attrs["y"]) == pytest.approx(ay + 4, abs=0.11)
    assert float(words["0.8"].attrs["y"]) == pytest.approx(by + 4, abs=0.11)


def test_error_bars_reach_from_low_to_high() -> None:
    tree = read(scatter([Dot("a", 10, 0.4, 0.2, 0.8), dot("b", 10, 0.6)], "lower"))
    words = texts(tree)
    x, _ = numbers(tree.all("circle")[0], "cx", "cy")
    bar = next(line for line in tree.all("line") if line.attrs["stroke-width"] == "1.5")
    x1, y1, x2, y2 = numbers(bar, "x1", "y1", "x2", "y2")
    assert x1 == x2 == x
    assert y1 == pytest.approx(float(words["0.2"].attrs["y"]) - 4, abs=0.11)
    assert y2 == pytest.approx(float(words["0.8"].attrs["y"]) - 4, abs=0.11)


def test_floors_and_heuristics_have_shapes_of_their_own() -> None:
    dots = [dot("a", 1, 1), dot("b", 2, 2, "floor"), dot("c", 3, 3, "heuristic")]
    tree = read(scatter(dots, "higher"))
    assert [len(tree.all(tag)) for tag in ("circle", "rect", "path")] == [1, 1, 1]
    words = texts(tree)
    assert len({words[name].attrs["fill"] for name in "abc"}) == 3


@pytest.mark.parametrize(("way", "sign"), [("higher", "↑ better"), ("lower", "↓ better")])
def test_the_chart_says_which_way_is_better(way: str, sign: str) -> None:
    assert sign in texts(read(scatter([dot("a", 1, 1)], way)))


def test_a_time_of_nothing_and_scores_all_alike_can_be_drawn() -> None:
    tree = read(scatter([dot("a", 0.0, 0.5, spread=0), dot("b", 0.0, 0.5, spread=0)], "higher"))
    for circle in tree.all("circle"):
        assert all(map(math.isfinite, numbers(circle, "cx", "cy")))


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [(0.5, "0.5 ms"), (1, "1 ms"), (10, "10 ms"), (500, "500 ms"), (1000, "1 s"), (20_000, "20 s")],
)
def test_times_are_said_as_people_do(milliseconds: float, said: str) -> None:
    assert duration(milliseconds) == said


@pytest.mark.parametrize(("least", "most"), [(3, 90), (1, 1.01), (0.02, 50_000)])
def test_ticks_are_few_and_round(least: float, most: float) -> None:
    tree = read(scatter([dot("a", least, 1), dot("b", most, 2)], "higher"))
    ticks = [text for text in texts(tree) if re.fullmatch(r"[\d.]+ m?s", text)]
    assert 1 <= len(ticks) <= 10
    assert all(text.lstrip("0.")[0] in "125" for text in ticks)


def test_names_are_escaped() -> None:
    svg = scatter([dot("<script>x</script>", 1, 1)], "higher")
    assert "<script" not in svg
    assert "<script>x</script>" in texts(read(svg))


def test_a_course_marks_the_step_that_was_kept() -> None:
    tree = read(course([1, 2, 3], [0.1, 0.4, 0.2], kept=1))
    line = [tuple(map(float, at.split(","))) for at in tree.one("polyline").attrs["points"].split()]
    assert numbers(tree.one("circle"), "cx", "cy") == list(line[1])
    assert line[1][1] < line[2][1] < line[0][1]
    assert "kept: 0.400" in texts(tree)
    assert not read(course([1, 2], [0.1, 0.2])).all("circle")


@pytest.mark.parametrize("steps", [[1], [1, 2, 3], list(range(1, 101))])
def test_epochs_are_whole_and_within_the_course(steps: list[int]) -> None:
    tree = read(course(steps, [0.5] * len(steps), 0))
    ticks = [int(t.text) for t in tree.all("text") if re.fullmatch(r"\d+", t.text)]
    assert ticks
    assert len(ticks) == len(set(ticks))
    assert set(ticks) <= set(steps)


# Where names lie


def crowd(spread: float, count: int = 12) -> list[tuple[float, float]]:
    generator = random.Random(0)
    return [
        (200 + spread * generator.uniform(-150, 150), 140 + spread * generator.uniform(-110, 110))
        for _ in range(count)
    ]


@pytest.mark.parametrize("spread", [1, 0.3, 0.05, 0])
def test_names_cover_neither_each_other_nor_a_mark(spread: float) -> None:
    points = crowd(spread)
    marks = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    boxes = place(points, [(100.0, SIZE + 2.0)] * len(points), marks, ROOM)
    assert all(box.within(ROOM) for box in boxes)
    assert max(one.common(other) for one, other in combinations(boxes, 2)) == 0
    assert max(box.common(mark) for box in boxes for mark in marks) == 0


def test_a_name_with_room_stands_at_its_point() -> None:
    (box,) = place([(200, 140)], [(60.0, 14.0)], [], ROOM)
    assert (box.left, (box.top + box.bottom) / 2) == (pytest.approx(209), pytest.approx(140))
    assert leader((200, 140), box) is None


def test_a_line_leads_to_a_name_that_is_far() -> None:
    box = Box(250, 100, 300, 114)
    assert leader((250 - NEAR - 1, 107), box) == ((250 - NEAR - 1, 107), (250, 107))
    assert leader((251, 107), box) is None


def test_a_name_that_fits_nowhere_is_still_placed() -> None:
    assert len(place([(200, 140)], [(1000.0, 14.0)], [], ROOM)) == 1


def test_common_area_and_nearest_point() -> None:
    box = Box(0, 0, 10, 4)
    assert box.common(Box(6, 2, 20, 20)) == 8
    assert box.common(Box(10, 0, 20, 4)) == 0
    assert box.nearest(-3, 2) == (0, 2)
    assert box.nearest(12, 9) == (10, 4)
