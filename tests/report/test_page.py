"""The page says what its blocks say, fetches nothing, runs nothing, and can be read."""

from __future__ import annotations

import re

import pytest
from reading import Node, read

from xrec.report.page import page
from xrec.report.section import Bar, Block, Card, Chapter, Code, Picture, Table, Terms, Text

EVIL = "<script>alert('x')</script> \"quoted\" & <b>bold</b>"


def laid_out(*blocks: Block, title: str = "a run") -> Node:
    return read(page(title, [Chapter("A chapter", blocks)]))


def columns(table: Node) -> list[list[str]]:
    """The rows of a table's body, as text."""
    rows = table.one("tbody").all("tr")
    return [[cell.text for cell in row.inside if isinstance(cell, Node)] for row in rows]


def test_every_kind_of_block_is_shown() -> None:
    tree = laid_out(
        Text("a paragraph"),
        Code("xrec run it.yaml"),
        Table(("name", "size"), [("one", "1")], "a note", caption="Sizes"),
        Terms([("term", "what it means")], "Terms used"),
        Picture("<svg><text>drawn</text></svg>", "a drawing", "Above it"),
        Card(
            "an item", ["because"], [Bar("past: tent", 0.5)], [Bar("past events", 0.5)], "so sure"
        ),
    )
    section = tree.one("section")
    assert "a paragraph" in [p.text for p in section.all("p")]
    assert section.one("pre").text == "xrec run it.yaml"
    assert section.one("caption").text == "Sizes"
    assert columns(section.one("table")) == [["one", "1"]]
    assert (section.one("dt").text, section.one("dd").text) == ("term", "what it means")
    assert section.one("figcaption").text == "Above it"
    assert [d.attrs["aria-label"] for d in section.one("figure").all("div")] == ["a drawing"]
    assert section.one("svg").text == "drawn"
    article = section.one("article")
    assert article.one("h3").text == "an item"
    assert [p.text for p in article.all("p")] == ["because", "so sure"]
    assert [li.text for li in article.all("li")] == ["past: tent +0.50", "past events +0.50"]


def test_a_page_has_landmarks_and_links_to_its_chapters() -> None:
    tree = read(page("my run", [Chapter("One", [Text("a")]), Chapter("Two", [Text("b")])]))
    assert tree.one("html").attrs["lang"] == "en"
    assert tree.one("title").text.startswith("my run")
    assert tree.one("h1").text == "my run"
    ids = [node.attrs["id"] for node in tree.walk() if "id" in node.attrs]
    assert len(ids) == len(set(ids))
    links = [a.attrs["href"] for a in tree.all("a")]
    assert all(href[0] == "#" and href[1:] in ids for href in links)
    assert [a.text for a in tree.one("nav").all("a")] == ["One", "Two"]
    assert len(tree.one("main").all("section")) == 2
    for section in tree.all("section"):
        assert section.attrs["aria-labelledby"] == section.one("h2").attrs["id"]


def test_chapters_with_nothing_to_tell_are_left_out() -> None:
    tree = read(page("a run", [Chapter("One", [Text("a")]), Chapter("Two"), Chapter("Three", [])]))
    assert [a.text for a in tree.one("nav").all("a")] == ["One"]
    assert len(tree.one("main").all("section")) == 1


def test_everything_is_escaped() -> None:
    blocks: list[Block] = [
        Text(EVIL),
        Code(EVIL),
        Table(
            (EVIL, EVIL),
            [(EVIL, EVIL), (f"{EVIL}\n{EVIL}", "1 ± 2")],
            EVIL,
            caption=EVIL,
            spans=[(EVIL, 2)],
            best={(0, 1)},
            marks={EVIL: EVIL},
        ),
        Terms([(EVIL, EVIL)], EVIL),
        Picture("<svg></svg>", EVIL, EVIL),
        Card(EVIL, [EVIL], [Bar(EVIL, 1)], [Bar(EVIL, -1)], EVIL),
    ]
    tree = read(page(EVIL, [Chapter(EVIL, blocks)]))
    assert not tree.all("script")
    assert not tree.all("b")
    for tag in ("h1", "h2", "pre", "caption", "dt", "dd", "figcaption"):
        assert tree.one(tag).text == EVIL, tag
    assert tree.one("article").one("h3").text == EVIL
    assert tree.one("figure").all("div")[0].attrs["aria-label"] == EVIL
    assert [s.text for s in tree.all("span", "name")] == [EVIL, EVIL]
    names = {name for node in tree.walk() for name in node.attrs}
    assert not [name for name in names if name.startswith("on") or '"' in name or "<" in name]


def test_nothing_is_fetched() -> None:
    html = page("a run", [Chapter("c", [Text("see https://example.org"), Picture("<svg/>", "w")])])
    tree = read(html)
    assert not [
        n.tag for n in tree.walk() if n.tag in ("script", "link", "img", "iframe", "object")
    ]
    for node in tree.walk():
        for name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            assert node.attrs.get(name, "#").startswith("#"), (node.tag, node.attrs)
    style = tree.one("style").text
    assert "url(" not in style
    assert "@import" not in style


# Tables


def test_columns_of_numbers_align_right_and_others_do_not() -> None:
    head = ("name", "score", "count", "version", "none", "share")
    rows = [
        ("1", "-0.5 ± 0.1", "1,682", "2.13.0", "–", "12 %"),
        ("2", "–", "<0.001", "x", "", "3 %"),
    ]
    table = laid_out(Table(head, rows)).one("table")
    aligned = [th.text for th in table.one("thead").all("th", "number")]
    assert aligned == ["score", "count", "share"]
    for row in table.one("tbody").all("tr"):
        assert len(row.all("td", "number")) == 3


def test_an_interval_is_small_and_a_minus_is_one() -> None:
    table = laid_out(Table(("name", "score"), [("x-y", "-0.5 ± 0.1"), ("z", "0.25")])).one("table")
    assert columns(table) == [["x-y", "−0.5 ± 0.1"], ["z", "0.25"]]  # the name keeps its hyphen
    assert [small.text for small in table.all("small")] == ["± 0.1"]


def test_what_follows_a_line_break_is_small() -> None:
    table = laid_out(Table(("a", "b"), [("name\nits way", "word\nmore")])).one("table")
    assert [small.text for small in table.all("small", "below")] == ["its way", "more"]
    assert table.all("th")[-1].text == "name its way"


def test_best_cells_strong_rows_marks_and_spans() -> None:
    block = Table(
        ("name", "a", "b"),
        [("one", "1", "x"), ("two", "2", "y")],
        strong=("two",),
        spans=[("", 1), ("both", 2)],
        best={(0, 1), (1, 2)},
        marks={"one": "floor"},
    )
    table = laid_out(block).one("table")
    assert [best.text for best in table.all("strong")] == ["1", "y"]
    first, second = table.one("tbody").all("tr")
    assert "strong" not in first.attrs.get("class", "")
    assert "strong" in second.attrs["class"]
    assert first.one("small", "mark").text == "floor"
    assert [(th.text, th.attrs["colspan"]) for th in table.one("tr", "spans").all("th")] == [
        ("", "1"),
        ("both", "2"),
    ]


def test_a_table_tells_its_heads_from_its_cells_and_can_be_reached_by_key() -> None:
    tree = laid_out(Table(("name", "a"), [("one", "1")], caption="Figures"))
    table = tree.one("table")
    assert [th.attrs["scope"] for th in table.one("thead").all("th")] == ["col", "col"]
    assert [th.attrs["scope"] for th in table.one("tbody").all("th")] == ["row"]
    box = tree.one("div", "wide")  # a wide table is scrolled in its own box
    assert (box.attrs["role"], box.attrs["tabindex"]) == ("region", "0")
    assert box.attrs["aria-label"] == "Figures"


def test_a_table_without_rows_is_still_one() -> None:
    assert columns(laid_out(Table(("name", "a"), [])).one("table")) == []


# Cards


def bars(tree: Node) -> dict[str, tuple[float, float, str]]:
    """Of each bar: where it begins, its length in percent, and its class."""
    found = {}
    for li in tree.all("li"):
        if not li.all("span", "axis"):
            continue
        bar = li.one("span", "axis").all("span")[1]
        left, width = re.fullmatch(
            r"left: ([\d.]+)%; width: ([\d.]+)%", bar.attrs["style"]
        ).groups()
        found[li.one("span", "name").text] = (float(left), float(width), bar.attrs["class"])
    return found


def test_bars_are_as_long_as_their_values_on_one_scale() -> None:
    members = [Bar("a", 3.0), Bar("b", -1.0), Bar("c", 0.5)]
    tree = laid_out(Card("x", [], members, [Bar("all", 2.5), Bar("against", -2.0)]))
    found = bars(tree)
    # From -2 to 3 is the whole length: 20 % for each logit, zero at 40 %.
    assert found == {
        "a": (40.0, 60.0, "up"),
        "b": (20.0, 20.0, "down"),
        "c": (40.0, 10.0, "up"),
        "all": (40.0, 50.0, "up"),
        "against": (0.0, 40.0, "down"),
    }
    assert {ul.attrs["style"] for ul in tree.all("ul", "bars")} == {"--zero: 40.0%"}
    assert [v.text for v in tree.all("span", "value")] == [
        "+3.00",
        "−1.00",
        "+0.50",
        "+2.50",
        "−2.00",
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.0], {(0.0, 0.0)}),
        ([-4.0, -1.0], {(0.0, 100.0), (75.0, 25.0)}),
        ([5.0], {(0.0, 100.0)}),
    ],
)
def test_bars_of_one_sign_or_of_nothing(values, expected) -> None:
    card = Card("x", [], [Bar(f"f{at}", value) for at, value in enumerate(values)], [])
    assert {(left, width) for left, width, _ in bars(laid_out(card)).values()} == expected


def test_a_card_without_contributions() -> None:
    article = laid_out(Card("x", ["nothing known"], [], [])).one("article")
    assert not article.all("ul")


# Colours


def _luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2 of #rgb or #rrggbb."""
    digits = colour.lstrip("#")
    digits = "".join(2 * c for c in digits) if len(digits) == 3 else digits
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_its_definition() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)  # WCAG's own border case


def test_words_and_bars_stand_out_from_their_ground() -> None:
    from xrec.report import drawing

    style = laid_out(Text("x")).one("style").text
    colours = dict(re.findall(r"--(\w+): (#\w+)", style))
    for name in ("ink", "soft", "up", "down"):
        for ground in ("paper", "ground"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for colour in (drawing.SOFT, drawing.BLUE, drawing.BROWN):
        assert contrast(colour, colours["paper"]) >= 4.5, colour


# Pages that belong together


def test_first_cells_may_lead_to_other_pages() -> None:
    block = Table(("name", "a"), [("one", "1"), ("two", "2")], links={"one": "more/one.html"})
    table = laid_out(block).one("table")
    assert [(a.text, a.attrs["href"]) for a in table.all("a")] == [("one", "more/one.html")]
    assert [th.text for th in table.one("tbody").all("th")] == ["one", "two"]


def test_a_page_leads_back_to_the_one_it_belongs_to() -> None:
    tree = read(page("mine", [Chapter("c", [Text("t")])], ("../all.html", EVIL)))
    (back,) = tree.one("p", "brand").all("a")
    assert (back.text, back.attrs["href"]) == (EVIL, "../all.html")


def test_a_wide_picture_has_the_width_of_the_page_and_scrolls() -> None:
    tree = laid_out(Picture("<svg></svg>", "w"), Picture("<svg></svg>", "w", wide=True))
    narrow, wide = tree.all("figure")
    assert "class" not in narrow.attrs
    assert wide.attrs["class"] == "broad"
    assert wide.one("div").attrs["tabindex"] == "0"


def test_percents_align_as_numbers_whatever_their_space() -> None:
    rows = [("a", "9\N{NO-BREAK SPACE}%"), ("b", "12 %")]
    assert len(laid_out(Table(("n", "share"), rows)).all("td", "number")) == 2
