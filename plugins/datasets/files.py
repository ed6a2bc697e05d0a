"""Files of tables read in full as text, where every complaint names file, line and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from xrec.errors import DataError

#: Dates as ISO 8601 has them, the letter T or a space before the time, and a zone or none (UTC).
ISO = (
    "%Y-%m-%d %H:%M:%S%.f%:z",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)


@dataclass(frozen=True)
class Sheet:
    """The rows of one file, all columns text, and the line (from 1) that each row stands on.

    types: the type that RecBole's header gives a column. unit: what a row stands on, if no line.
    """

    path: Path
    rows: pl.DataFrame
    lines: pl.Series
    types: Mapping[str, str] = field(default_factory=dict)
    unit: str = "line"

    def text(self, column: str) -> pl.Series:
        """A column as it is written."""
        text = self.values(column)
        if text.dtype != pl.String:
            raise DataError(f"{self.path}: the column '{column}' holds lists, it must hold texts")
        return text

    def values(self, column: str) -> pl.Series:
        """A column of texts or, in a Parquet file, of lists of texts."""
        if column not in self.rows.columns:
            known = ", ".join(self.rows.columns)
            head = f", {self.unit} 1" if self.unit == "line" else ""
            raise DataError(f"{self.path}{head}: there is no column '{column}' among {known}")
        return self.rows[column]

    def optional(self, column: str) -> pl.Series:
        """A column as it is written, null where it is empty."""
        return self.text(column).replace("", None)

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

    def date(self, column: str, formats: Sequence[str] = ISO, optional: bool = False) -> pl.Series:
        """A column of dates in any of `formats`, in seconds since 1970; empty as in `number`."""
        text = self.text(column)
        plain = text.str.replace(r"(\d)[Tt](\d)", "$1 $2").str.replace(r"[Zz]$", "+00:00")
        tries = [_seconds(plain, each) for each in formats]
        seconds = pl.select(pl.coalesce(tries)).to_series()
        known = seconds.is_not_null() | (text == "") if optional else seconds.is_not_null()
        self.demand(column, known, "is no date such as 2024-12-31 23:59:59")
        return seconds

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
        place = _place(self.path, self.lines[row], names, names.index(column), self.unit)
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
    types = {}
    if not columns:
        head = lines[0].split(separator)
        columns = _header(path, head)
        types = dict(zip(columns, (name.partition(":")[2] for name in head), strict=True))
        lines, numbers = lines[1:], numbers[1:]
    _check_rows(path, len(lines))
    counts = lines.str.count_matches(separator, literal=True) + 1
    _check_counts(path, columns, counts, numbers)
    fields = lines.str.split_exact(separator, len(columns) - 1).struct.rename_fields(list(columns))
    return Sheet(path, fields.struct.unnest(), numbers, types)


def read_atomic(path: Path) -> Sheet:
    """One of RecBole's atomic files: tabs, and a header of `name:type`.

    https://recbole.io/docs/user_guide/data/atomic_files.html
    """
    return read_lines(path, "\t")


def read_csv(path: Path, separator: str = ",", encodings: Sequence[str] = ("utf-8",)) -> Sheet:
    """A file of values with a separator between and a header, quoted as RFC 4180 says."""
    text = io.StringIO(_decode(path, encodings, separator), newline="")
    reader = csv.reader(text, strict=True, delimiter=separator)
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


def read_parquet(path: Path) -> Sheet:
    """A Parquet file; what is null is empty, and lists of texts stay what they are."""
    try:
        rows = pl.read_parquet(path)
        lists = [name for name, kind in rows.schema.items() if isinstance(kind, pl.List)]
        rows = rows.with_columns(
            pl.col(lists).cast(pl.List(pl.String), strict=False),
            pl.all().exclude(lists).cast(pl.String, strict=False).fill_null(""),
        )
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        told = str(error).splitlines()[0]
        raise DataError(f"{path} is no Parquet file that can be read: {told}") from error
    _check_rows(path, len(rows))
    return Sheet(path, rows, pl.int_range(1, len(rows) + 1, eager=True), unit="row")


def _seconds(text: pl.Series, form: str) -> pl.Series:
    moment = text.str.to_datetime(form, strict=False, time_unit="us")
    return moment.dt.epoch("s")


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


def _place(path: Path, line: int, columns: Sequence[str], column: int, unit: str = "line") -> str:
    name = f" ({columns[column]})" if column < len(columns) else ""
    return f"{path}, {unit} {line}, column {column + 1}{name}"
