"""Delimited text files read in full as text, where every complaint names file, line and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from xrec.errors import DataError


@dataclass(frozen=True)
class Sheet:
    """The rows of one file, all columns text, and the line (from 1) that each row stands on."""

    path: Path
    rows: pl.DataFrame
    lines: pl.Series

    def text(self, column: str) -> pl.Series:
        """A column as it is written."""
        if column not in self.rows.columns:
            known = ", ".join(self.rows.columns)
            raise DataError(f"{self.path}, line 1: there is no column '{column}' among {known}")
        return self.rows[column]

    def ids(self, column: str, unique: bool = False) -> pl.Series:
        """A column of ids: none empty and, if `unique`, none twice."""
        ids = self.text(column)
        self.demand(column, ids != "", "is no id: it is empty")
        if unique:
            self.demand(column, ids.is_first_distinct(), "is the id of an earlier line too")
        return ids

    def number(self, column: str, low: float, high: float, optional: bool = False) -> pl.Series:
        """A column of numbers from `low` to `high`; an empty one is null if `optional`."""
        text = self.text(column)
        number = text.cast(pl.Float64, strict=False)
        # NaN is no number to us, though polars reads it as one and sorts it above all others.
        good = (number.is_finite() & (number >= low) & (number <= high)).fill_null(False)
        known = good | (text == "") if optional else good
        self.demand(column, known, f"is not a number from {low:.10g} to {high:.10g}")
        return number

    def choice(self, column: str, known: Sequence[str]) -> pl.Series:
        """A column whose values are all in `known`, or empty, which becomes null."""
        text = self.text(column)
        self.demand(column, text.is_in(["", *known]), f"is not one of {', '.join(known)}")
        return text.replace("", None)

    def demand(self, column: str, good: pl.Series, complaint: str) -> None:
        """Raises DataError with `complaint` at the first row whose `good` is false."""
        if good.all():
            return
        row, names = int((~good).arg_true()[0]), self.rows.columns
        place = _place(self.path, self.lines[row], names, names.index(column))
        raise DataError(f"{place}: {self.rows[column][row]!r} {complaint}")


def read_lines(
    path: Path,
    separator: str,
    columns: Sequence[str] = (),
    encodings: Sequence[str] = ("utf-8",),
) -> Sheet:
    """A file of one row a line without quoting; without `columns` its first line names them.

    The first of `encodings` that fits the whole file is taken.
    """
    text = _decode(path, encodings, separator)
    lines = pl.Series("line", text.replace("\r\n", "\n").split("\n"), dtype=pl.String)
    numbers = pl.int_range(1, len(lines) + 1, eager=True)
    # A line that is empty is no row, so that blank lines at the end do no harm.
    filled = lines != ""
    lines, numbers = lines.filter(filled), numbers.filter(filled)
    if not columns:
        columns = _header(path, lines[0].split(separator))
        lines, numbers = lines[1:], numbers[1:]
    _check_rows(path, len(lines))
    counts = lines.str.count_matches(separator, literal=True) + 1
    _check_counts(path, columns, counts, numbers)
    fields = lines.str.split_exact(separator, len(columns) - 1).struct.rename_fields(list(columns))
    return Sheet(path, fields.struct.unnest(), numbers)


def read_atomic(path: Path) -> Sheet:
    """One of RecBole's atomic files: tabs, and a header of `name:type`.

    https://recbole.io/docs/user_guide/data/atomic_files.html
    """
    return read_lines(path, "\t")


def read_csv(path: Path) -> Sheet:
    """A file of comma-separated values with a header, quoted as RFC 4180 says."""
    reader = csv.reader(io.StringIO(_decode(path, ("utf-8",), ","), newline=""), strict=True)
    rows, lines, start = [], [], 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: the quoting is broken: {error}") from error
    columns = _header(path, rows[0])
    _check_rows(path, len(rows) - 1)
    numbers = pl.Series(lines[1:], dtype=pl.Int64)
    _check_counts(path, columns, pl.Series([len(row) for row in rows[1:]]), numbers)
    schema = dict.fromkeys(columns, pl.String)
    return Sheet(path, pl.DataFrame(rows[1:], schema=schema, orient="row"), numbers)


def _decode(path: Path, encodings: Sequence[str], separator: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    # A byte order mark is how some editors sign UTF-8; it is no part of the first column's name.
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise DataError(f"{path} is empty")
    for encoding in encodings[:-1]:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    try:
        return content.decode(encodings[-1])
    except UnicodeDecodeError as error:
        before = content[: error.start].split(b"\n")
        column = before[-1].count(separator.encode()) + 1
        raise DataError(
            f"{path}, line {len(before)}, column {column}: the byte {content[error.start]:#04x} is "
            f"not {error.encoding.upper()}, so save the file as {error.encoding.upper()}"
        ) from error


def _header(path: Path, fields: Sequence[str]) -> list[str]:
    # RecBole writes `name:type`; the type is told by whoever asks for the column.
    names = [field.partition(":")[0].strip() for field in fields]
    for column, name in enumerate(names):
        if not name or name in names[:column]:
            complaint = f"'{name}' names an earlier column too" if name else "it has no name"
            raise DataError(f"{path}, line 1, column {column + 1}: {complaint}")
    return names


def _check_rows(path: Path, count: int) -> None:
    if not count:
        raise DataError(f"{path} has a header and no rows")


def _check_counts(path: Path, columns: Sequence[str], counts: pl.Series, lines: pl.Series) -> None:
    wrong = (counts != len(columns)).arg_true()
    if len(wrong):
        row = int(wrong[0])
        place = _place(path, lines[row], columns, min(counts[row], len(columns)))
        raise DataError(f"{place}: the row has {counts[row]} fields, it must have {len(columns)}")


def _place(path: Path, line: int, columns: Sequence[str], column: int) -> str:
    name = f" ({columns[column]})" if column < len(columns) else ""
    return f"{path}, line {line}, column {column + 1}{name}"
