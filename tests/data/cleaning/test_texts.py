"""Steps on texts: what is broken is mended, what is whole, in whatever script, is left alone."""

from __future__ import annotations

import html

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import items, tables

from xrec.data.cleaning.texts import BrokenText, MissingText, mended

BROKEN = [
    ("CafÃ©", "Café"),
    ("BjÃ¶rk", "Björk"),
    ("Itâ€™s", "It’s"),
    ("Â£5 off", "£5 off"),
    ("Ð\x9cÐ¾Ñ\x81ÐºÐ²Ð°", "Москва"),
    ("æ—¥æœ¬", "日本"),
    ("ð\x9f\x98\x80", "😀"),
    ("CafÃÂ©", "Café"),  # twice over
    ("Salt &amp; Pepper", "Salt & Pepper"),
    ("Salt &amp;amp; Pepper", "Salt & Pepper"),
    ("&#34;Hi&#x22;", '"Hi"'),
    ("<b>Tent</b>, <br/>red", "Tent , red"),
    ("&lt;i&gt;Tent&lt;/i&gt;", "Tent"),
    ('a <a href="http://x">link</a>', "a link"),
    ("Tent\x00\x07 red", "Tent red"),
    ("\ufeffTent", "Tent"),
]
WHOLE = [
    "",
    "Café",
    "«CAFÉ»",
    "Motörhead – Überall",
    "ÃO",
    "東京事変",
    "Кино",
    "فیروز",
    "می\u200cخواهم",  # a joiner that Persian is written with
    "👩\u200d🚀",
    "Simon & Garfunkel",
    "AT&T",
    "Tom&notes",
    "I <3 U",
    "a < b > c",
    "!!!",
    "two\nlines",
    "two  spaces",
    "naïve façade, señor",
]


@pytest.mark.parametrize(("broken", "meant"), BROKEN)
def test_broken_text_is_mended(broken: str, meant: str):
    assert mended(broken) == meant


@pytest.mark.parametrize("text", WHOLE)
def test_whole_text_is_left_alone(text: str):
    assert mended(text) == text


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet="ÃÂâð€™©¶»&;<>b/aé#x41amp\x81", max_size=40))
def test_mending_what_is_mended_changes_nothing(text: str):
    assert mended(mended(text)) == mended(text)


WORDS = ["abc", "é", "Äöñ", "it’s", "– ©", "Москва", "日本語", "Łó", "𝄞"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join), st.sampled_from([1, 2]))
def test_utf_8_read_as_another_encoding_is_put_right(meant: str, times: int):
    read = meant
    for _ in range(times):
        read = read.encode().decode("latin-1")
    assert mended(read) == meant
    assert mended(html.escape(meant)) == meant


def test_titles_and_texts_are_mended_and_counted():
    catalogue = items(
        title=["CafÃ©", "B", None, "D"],
        text=["about CafÃ©", "B &amp; C", None, ""],
        colour=["red &amp; blue"] * 4,
    )
    cleaned, (finding,) = BrokenText()(tables([], catalogue))
    assert cleaned.items["title"].to_list() == ["Café", "B", None, "D"]
    assert cleaned.items["text"].to_list() == ["about Café", "B & C", None, ""]
    assert cleaned.items["colour"].to_list() == ["red &amp; blue"] * 4
    assert cleaned.items.columns == catalogue.columns
    assert (finding.mended, finding.dropped, finding.examples) == (2, 0, ("CafÃ©", "B"))


def test_items_without_text_are_read_by_their_title_or_id():
    catalogue = items(
        title=["Tent ", " Lamp", None, "  "], text=["a tent", None, "  ", ""], colour=["red"] * 4
    )
    cleaned, (finding,) = MissingText()(tables([], catalogue))
    assert cleaned.items["title"].to_list() == ["Tent", "Lamp", "item c", "item d"]
    assert cleaned.items["text"].to_list() == ["a tent", "Lamp", "item c", "item d"]
    assert cleaned.items["colour"].to_list() == ["red"] * 4
    assert cleaned.items.columns == catalogue.columns
    assert (finding.what, finding.mended) == ("items without text or title", 3)
    assert finding.examples == ("b", "c", "d")
