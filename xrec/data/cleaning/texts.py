"""Steps that look at what items are called and what the encoder is to read of them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from xrec.data.cleaning.finding import SHOWN, Finding
from xrec.data.tables import Tables

# The byte that each character stands for in text that was UTF-8 and was read as Windows-1252, or as
# Latin-1 where that has no character.
BYTES = {bytes([byte]).decode("latin-1"): byte for byte in range(0x80, 0x100)}
BYTES |= {
    bytes([byte]).decode("cp1252"): byte
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}


def _characters(first: int, last: int) -> str:
    return "[" + "".join(re.escape(c) for c, byte in BYTES.items() if first <= byte <= last) + "]"


_MORE = _characters(0x80, 0xBF)
_LETTER = (
    f"(?:{_characters(0xC2, 0xDF)}{_MORE}|{_characters(0xE0, 0xEF)}{_MORE}{{2}}"
    f"|{_characters(0xF0, 0xF4)}{_MORE}{{3}})"
)
# What no language writes: Â or Ã before a sign, â before two, ð before three, or any two such
# letters in a row (one alone may be real, as the end of a «CAFÉ»).
MOJIBAKE = re.compile(f"(?:[ÂÃ]{_MORE}|â{_MORE}{{2}}|ð{_MORE}{{3}}|{_LETTER}{{2,}})+")
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
TAG = re.compile(
    r" *</?(?:a|b|br|div|em|font|h[1-6]|i|img|li|ol|p|small|span|strong|sub|sup|table|td|tr|u|ul)"
    r"(?:\s[^<>]*)?/?> *",
    re.IGNORECASE,
)
# Control characters (but ends of lines), and the marks of no width that files leave behind, though
# not those by which other scripts and emoji are joined.
CONTROL = re.compile(" *[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\ufeff]+ *")


def mended(text: str) -> str:
    """A text as it was meant: UTF-8 read as such, without markup, entities or control characters.

    Mending what is mended changes nothing.
    """
    while True:
        tries = (pattern.sub(put, text) for pattern, put in REPAIRS)
        better = next((each for each in tries if each != text), None)
        if better is None:
            return text
        text = better.strip(" ")  # of nothing else, as some controls count as space


def _reread(found: re.Match[str]) -> str:
    try:
        return bytes(BYTES[character] for character in found[0]).decode()
    except UnicodeDecodeError:  # an overlong form: no text ever was that
        return found[0]


#: What is looked for, first to last, and what is put in its place; after each it is begun again, as
#: text may be broken several times over, and control characters are parts of what was misread.
REPAIRS: Sequence[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = (
    (MOJIBAKE, _reread),
    (ENTITY, lambda found: html.unescape(found[0])),
    (TAG, " "),
    (CONTROL, " "),
)


@dataclass(frozen=True)
class BrokenText:
    """Titles and texts of items that came to harm on their way, such as "CafÃ© &amp; Bar"."""

    name: ClassVar[str] = "broken_text"

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Mend them."""
        items = tables.items.with_columns(
            pl.Series(column, [text and mended(text) for text in tables.items[column]], pl.String)
            for column in ("title", "text")
        )
        changed = pl.any_horizontal(
            tables.items[column].ne_missing(items[column]).alias(column)
            for column in ("title", "text")
        )
        rows = tables.items.filter(changed)
        examples = tuple(str(title) for title in rows["title"].head(SHOWN))
        finding = Finding(self.name, "items with broken text", mended=len(rows), examples=examples)
        return tables.replace(items=items), [finding]


@dataclass(frozen=True)
class MissingText:
    """Items with no text to read, or no title to be called by."""

    name: ClassVar[str] = "missing_text"

    def __call__(self, tables: Tables) -> tuple[Tables, Sequence[Finding]]:
        """Give them their title to read, or else their id for both."""
        title = pl.col("title").fill_null("").str.strip_chars()
        text = pl.col("text").fill_null("").str.strip_chars()
        named = pl.when(title == "").then(pl.lit("item ") + pl.col("item")).otherwise(title)
        read = pl.when(text == "").then(named).otherwise(pl.col("text"))
        rows = tables.items.filter((text == "") | (title == ""))
        finding = Finding(
            self.name,
            "items without text or title",
            mended=len(rows),
            examples=tuple(rows["item"].head(SHOWN)),
        )
        return tables.replace(items=tables.items.with_columns(title=named, text=read)), [finding]
