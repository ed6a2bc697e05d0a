"""Charts: marks lie where their numbers say, and names cover nothing."""

from __future__ import annotations

import math
import random
import re
from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from reading import Node, read

from xrec.report.canvas import BLUE, BROWN, SOFT, duration
from xrec.report.drawing import Dot, columns, course, scatter
from xrec.report.page import page
from xrec.report.section import Chapter, Picture

EXPLAINERS = (
    "integrated gradients",
    "kernel shap",
    "attention rollout",
    "leave one out",
    "recency",
    "random",
    "popularity",
    "item cosine",
)


def dot(name: str, x: float, y: float, standing: str = "", spread: float = 0.1) -> Dot:
    return Dot(name, x, y, y - spread, y + spread, standing)


def numbers(node: Node, *names: str) -> list[float]:
    return [float(node.attrs[name]) for name in names]


def texts(tree: Node) -> dict[str, Node]:
    return {node.text: node for node in tree.all("text")}


def stroked(tree: Node, tag: str, colour: str) -> list[Node]:
    """Elements of a tag whose stroke has a colour, in the order in which they are drawn."""
    return [node for node in tree.all(tag) if f"stroke: {colour}" in node.attrs.get("style", "")]


def marks(tree: Node, colour: str = BLUE) -> list[list[float]]:
    """Where marks of a colour lie."""
    return [numbers(use, "x", "y") for use in stroked(tree, "use", colour)]


def ends(tree: Node, colour: str = BLUE) -> list[list[tuple[float, float]]]:
    """The points of each line of a colour."""
    lines = [node for node in stroked(tree, "path", colour) if "fill: none" in node.attrs["style"]]
    pairs = [
        re.findall(r"(?:[ML]|Q \S+ \S+) ([\d.-]+) ([\d.-]+)", line.attrs["d"]) for line in lines
    ]
    return [[(float(x), float(y)) for x, y in each] for each in pairs if len(each) > 1]


# Where marks lie


def test_times_lie_on_a_log_axis_and_scores_on_a_plain_one() -> None:
    dots = [dot("a", 1, 0.0), dot("b", 10, 0.5), dot("c", 100, 1.0)]
    (ax, ay), (bx, by), (cx, cy) = marks(read(scatter(dots, "higher")))
    assert bx - ax == pytest.approx(cx - bx, abs=0.01)
    assert ay - by == pytest.approx(by - cy, abs=0.01)
    assert 0 < ax < cx < 360
    assert ay > cy  # up is less, on a screen


def test_the_axis_agrees_with_the_marks() -> None:
    tree = read(scatter([dot("a", 10, 0.4), dot("b", 100, 0.8)], "higher"))
    words = texts(tree)
    (ax, ay), (bx, by) = marks(tree)
    assert numbers(words["10 ms"], "x") == pytest.approx([ax], abs=0.01)
    assert numbers(words["100 ms"], "x") == pytest.approx([bx], abs=0.01)
    low, high = numbers(words["0.4"], "y")[0], numbers(words["0.8"], "y")[0]
    assert low - high == pytest.approx(ay - by, abs=0.01)
    assert 2 < low - ay < 6  # a number's base lies half its height below its tick


def test_error_bars_reach_from_low_to_high() -> None:
    tree = read(scatter([Dot("a", 10, 0.4, 0.2, 0.8), dot("b", 40, 0.6)], "lower"))
    (ax, ay), (_, by) = marks(tree)
    unit = (ay - by) / 0.2
    assert ends(tree)[0] == [
        pytest.approx((ax, ay + 0.2 * unit), abs=0.01),
        pytest.approx((ax, ay - 0.4 * unit), abs=0.01),
    ]


def test_floors_and_heuristics_have_shapes_and_colours_of_their_own() -> None:
    dots = [dot("a", 1, 1), dot("b", 2, 2, "floor"), dot("c", 3, 3, "heuristic")]
    tree = read(scatter(dots, "higher"))
    shapes = {path.attrs["id"]: path.attrs["d"] for path in tree.all("path") if "id" in path.attrs}
    found = []
    for name, colour in zip("abc", (BLUE, SOFT, BROWN), strict=True):
        # The ticks of the axis are soft too, and never filled white.
        (mark,) = [
            use
            for use in stroked(tree, "use", colour)
            if f"fill: {BLUE if name == 'a' else '#ffffff'}" in use.attrs["style"]
        ]
        found.append(shapes[mark.attrs["xlink:href"].lstrip("#")])
        assert f"fill: {colour}" in texts(tree)[name].attrs["style"]
    assert len(set(found)) == 3


@pytest.mark.parametrize(("way", "sign"), [("higher", "↑ better"), ("lower", "↓ better")])
def test_the_chart_says_which_way_is_better(way: str, sign: str) -> None:
    assert sign in texts(read(scatter([dot("a", 1, 1)], way)))


def test_a_time_of_nothing_and_scores_all_alike_can_be_drawn() -> None:
    tree = read(scatter([dot("a", 0.0, 0.5, spread=0), dot("b", 0.0, 0.5, spread=0)], "higher"))
    assert len(marks(tree)) == 2
    assert all(math.isfinite(number) for mark in marks(tree) for number in mark)
    assert {"a", "b"} <= set(texts(tree))


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
    assert 1 <= len(ticks) <= 8
    assert all(text.lstrip("0.")[0] in "125" for text in ticks)


def test_a_course_marks_the_step_that_was_kept() -> None:
    tree = read(course([1, 2, 3], [0.1, 0.4, 0.2], kept=1))
    (line,) = ends(tree)
    assert marks(tree, BROWN) == [pytest.approx(line[1], abs=0.01)]
    assert line[1][1] < line[2][1] < line[0][1]
    assert "kept: 0.400" in texts(tree)
    assert not marks(read(course([1, 2], [0.1, 0.2])), BROWN)


@pytest.mark.parametrize("steps", [[1], [1, 2, 3], list(range(1, 101))])
def test_epochs_are_whole_and_within_the_course(steps: list[int]) -> None:
    tree = read(course(steps, [0.5] * len(steps), 0))
    (title,) = [node for node in tree.all("text") if node.text == "epoch"]
    below = [n for n in tree.all("text") if 0 < float(title.attrs["y"]) - float(n.attrs["y"]) < 30]
    ticks = [int(node.text) for node in below if "kept" not in node.text]
    assert ticks
    assert len(ticks) == len(set(ticks))
    assert set(ticks) <= set(steps)


def test_columns_are_as_high_as_their_counts_which_stand_above_them() -> None:
    tree = read(columns(["1", "2", "none"], [4, 0, 2], "events"))
    filled = [p for p in tree.all("path") if f"fill: {BLUE}" in p.attrs.get("style", "")]
    tall = []
    for each in filled:
        heights = [float(y) for _, y in re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", each.attrs["d"])]
        tall.append(max(heights) - min(heights))
    assert tall == [pytest.approx(2 * tall[2], rel=0.01), 0, tall[2]]
    said = [node.text for node in tree.all("text")]
    assert {"events", "1", "2", "none", "4", "0"} <= set(said)


def test_a_course_may_be_over_other_steps_than_epochs() -> None:
    words = texts(read(course([0, 1, 2], [0.1, 0.4, 0.2], title="layer")))
    assert "layer" in words
    assert "epoch" not in words


# On a page


def test_names_are_words_and_escaped() -> None:
    for name in ("<script>x</script>", "a & b", "$x$ and $y$"):
        svg = scatter([dot(name, 1, 1)], "higher")
        assert "<script" not in svg
        assert name in texts(read(svg))


def test_a_drawing_is_the_same_each_time() -> None:
    dots = crowd(0.3, 8)
    assert scatter(dots, "higher") == scatter(dots, "higher")
    assert course([1, 2], [0.1, 0.2], 1) == course([1, 2], [0.1, 0.2], 1)


def test_a_drawing_takes_the_size_that_the_page_gives_it() -> None:
    for svg, box in ((scatter([dot("a", 1, 1)], "lower"), "300"), (course([1], [1.0]), "200")):
        root = read(svg).one("svg")
        assert root.attrs["viewbox"] == f"0 0 360 {box}"
        assert not {"width", "height"} & set(root.attrs)


def test_drawings_on_a_page_fetch_nothing_and_share_no_names() -> None:
    drawn = [
        scatter([dot("a", 1, 1)], "higher"),
        scatter([dot("a", 1, 1)], "lower"),
        course([1, 2], [0.1, 0.2]),
        course([1, 2], [0.1, 0.2], 1),
        course([1, 2], [0.1, 0.2], title="layer"),
        columns(["1", "2"], [3, 4], "events"),
        columns(["1", "2"], [3, 4], "layers"),
    ]
    tree = read(page("a run", [Chapter("c", [Picture(svg, "w") for svg in drawn])]))
    ids = [node.attrs["id"] for node in tree.walk() if "id" in node.attrs]
    assert len(ids) == len(set(ids))
    assert len(tree.all("style")) == 1  # the page's own
    for node in tree.walk():
        for name in ("src", "href", "xlink:href"):
            assert node.attrs.get(name, "#").startswith("#"), (node.tag, node.attrs)
        for target in re.findall(r"url\((.*?)\)", " ".join(node.attrs.values())):
            assert target.lstrip("#") in ids
        assert node.attrs.get("xlink:href", "#" + ids[0]).lstrip("#") in ids


# Where names lie


def crowd(spread: float, count: int, seed: int = 0) -> list[Dot]:
    generator = random.Random(seed)
    dots = []
    for name in EXPLAINERS[:count]:
        y, x = spread * generator.random(), 10 ** (0.5 + 1.7 * spread * generator.random())
        dots.append(dot(name, x, y, spread=0.04))
    return dots


def box(text: Node) -> tuple[float, float, float, float]:
    """The left, top, right and bottom of a text, as matplotlib measures its letters."""
    assert "text-anchor: middle" in text.attrs["style"]
    size = float(re.search(r"font-size: ([\d.]+)px", text.attrs["style"])[1])
    prop = FontProperties(family="DejaVu Sans", size=size)
    wide, high, below = RendererAgg(10, 10, 72).get_text_width_height_descent(
        text.text, prop, False
    )
    x, y = numbers(text, "x", "y")
    return x - wide / 2, y + below - high, x + wide / 2, y + below


def common(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0) * max(high, 0)


@pytest.mark.parametrize(("spread", "count"), [(1, 8), (0.3, 8), (0.08, 6), (0, 6)])
def test_names_cover_neither_each_other_nor_a_mark(spread: float, count: int) -> None:
    tree = read(scatter(crowd(spread, count), "higher"))
    words = texts(tree)
    boxes = [box(words[name]) for name in EXPLAINERS[:count]]
    assert max(common(one, other) for one, other in combinations(boxes, 2)) == 0
    discs = [(x - 4, y - 4, x + 4, y + 4) for x, y in marks(tree)]
    assert len(discs) == count
    grazed = max(common(name, disc) for name in boxes for disc in discs)
    assert grazed < (1 if spread == 1 else 16)  # of 64: in a crowd a name may touch a disc's edge
    assert all(left >= 0 and right <= 360 for left, _, right, _ in boxes)


def test_lines_lead_from_marks_to_names_that_are_far_and_to_no_others() -> None:
    def leading(dots: list[Dot]) -> list[float]:
        """How long the lines are that lead to the first mark."""
        tree = read(scatter(dots, "higher"))
        at = marks(tree)[0]
        lines = [(line[-1], math.dist(line[0], line[-1])) for line in ends(tree, SOFT)]
        return [length for end, length in lines if math.dist(end, at) < 3]

    assert max(leading([dot("recency", 10, 0.5, spread=0)]), default=0) < 1
    assert sum(length > 10 for length in leading(crowd(0, 6))) >= 3


@pytest.mark.parametrize("kept", [0, 1, 4])
def test_the_name_of_the_kept_step_is_clear_of_its_mark(kept: int) -> None:
    tree = read(course([1, 2, 3, 4, 5], [0.1, 0.3, 0.35, 0.37, 0.38], kept))
    ((x, y),) = marks(tree, BROWN)
    (name,) = [node for node in tree.all("text") if node.text.startswith("kept")]
    assert common(box(name), (x - 4, y - 4, x + 4, y + 4)) < 1
