"""MovieLens: what people thought of films, with who they are and what the films are.

F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM Transactions on
Interactive Intelligent Systems 5(4), 2015, https://doi.org/10.1145/2827872. GroupLens lets anyone
use the data for research but not pass it on, so it is read where it lies or fetched from GroupLens.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import platformdirs
import polars as pl

from xrec import hookimpl
from xrec.data.tables import Tables
from xrec.errors import DataError
from xrec_plugins.datasets.download import Archive, fetch
from xrec_plugins.datasets.files import Sheet, read_atomic, read_csv, read_lines
from xrec_plugins.datasets.recbole import graph

URL = "https://files.grouplens.org/datasets/movielens/"
# The digests that TensorFlow Datasets pins (tensorflow_datasets/url_checksums/movielens.txt).
# GroupLens calls latest-small a development set that may change; the others are frozen.
SHA256 = {
    "100k": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    "1m": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    "latest-small": "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
}
LOWEST = {"100k": 1.0, "1m": 1.0, "latest-small": 0.5}
HIGHEST = 5.0
LAST_SECOND = 2**32  # of the year 2106: times in milliseconds do not pass for seconds

# Age bands and occupations are those of the 1M set's README; 100K's ages are banded alike.
AGES = (18, 25, 35, 45, 50, 56)
BANDS = ("under 18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+")
OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student",
    "customer service", "doctor/health care", "executive/managerial", "farmer", "homemaker",
    "k-12 student", "lawyer", "programmer", "retired", "sales/marketing", "scientist",
    "self-employed", "technician/engineer", "tradesman/craftsman", "unemployed", "writer",
)  # fmt: skip
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)  # fmt: skip
NO_GENRE = "(no genres listed)"
# "unkonwn" is how RecBole's files spell the one film of 100K that has no title.
UNKNOWN = ("", "unknown", "unkonwn", NO_GENRE)

ARTICLES = (
    "The|A|An|Le|La|Les|L'|Un|Une|Il|Lo|I|Gli|Uno|Una|El|Los|Las|Der|Die|Das|Ein|Eine|Den|Det|De|"
    "Het|O|Os|As"
)
# A title, or the other title in brackets, that ends in its article: "Matrix, The".
TRAILING = re.compile(rf"(^|\((?:a\.k\.a\. )?)([^()]+), ({ARTICLES})(?=\)|\s*\(|$)")
# "(1995)", "(1995) (V)" of a video, "(2006–2007)" of a series.
YEAR = re.compile(r"\s*\((\d{4})(?:[-–]\d{0,4})?\)(?:\s*\(V\))?\s*$")


@dataclass(frozen=True)
class Layout:
    """One way the files are published: their names, and what reads them."""

    needed: tuple[str, ...]
    read: Callable[[Sequence[Path], float], Tables]
    optional: tuple[str, ...] = ()

    def files(self, folder: Path) -> list[Path]:
        """The files of this layout in `folder`, in order; none unless all needed are there."""
        if not all((folder / name).is_file() for name in self.needed):
            return []
        names = self.needed + self.optional
        return [folder / name for name in names if (folder / name).is_file()]


@dataclass(frozen=True)
class MovieLens:
    """MovieLens of a size, in GroupLens' own files or in RecBole's.

    It is looked for in `folder` if that is given, else in the folder that the environment variable
    XREC_DATA_DIR names (or ml-100k, ml-1m, ml-latest-small in it), else in the user's cache, to
    which it is downloaded when it is nowhere.
    """

    size: str = "100k"
    folder: str = ""

    def __post_init__(self) -> None:
        if self.size not in SHA256:
            raise ValueError(f"size '{self.size}' is not one of {', '.join(SHA256)}")

    def sources(self) -> Sequence[Path]:
        """The files of this size, downloaded if need be."""
        return self._found()[1]

    def load(self) -> Tables:
        """Ratings, films, users (but for latest-small), and RecBole's knowledge graph if there."""
        layout, files = self._found()
        return layout.read(files, LOWEST[self.size])

    def _found(self) -> tuple[Layout, list[Path]]:
        name = f"ml-{self.size}"
        cached = platformdirs.user_cache_path("xrec") / "movielens" / name
        given = self.folder or os.environ.get("XREC_DATA_DIR", "")
        folders = [Path(given).expanduser() / name, Path(given).expanduser()] if given else []
        if not self.folder:
            folders.append(cached)
        if found := self._search(folders):
            return found
        layouts = " or ".join(", ".join(layout.needed) for layout in _layouts(self.size))
        if self.folder:
            raise DataError(
                f"MovieLens {self.size} is not in {self.folder}: set data.folder to the folder "
                f"that has {layouts}"
            )
        try:
            fetch(Archive(f"{URL}{name}.zip", SHA256[self.size], name), cached)
        except DataError as error:
            raise DataError(
                f"MovieLens {self.size} ({layouts}) is not in {', '.join(map(str, folders))}, and "
                f"{error}, or set XREC_DATA_DIR to a folder that has {name}"
            ) from error
        found = self._search([cached])
        if not found:
            raise DataError(f"{URL}{name}.zip, now in {cached}, has no {layouts}")
        return found

    def _search(self, folders: Iterable[Path]) -> tuple[Layout, list[Path]] | None:
        for folder in folders:
            for layout in _layouts(self.size):
                if files := layout.files(folder):
                    return layout, files
        return None


@hookimpl
def xrec_datasets() -> Mapping[str, Callable[..., MovieLens]]:
    """MovieLens."""
    return {"movielens": MovieLens}


def _layouts(size: str) -> tuple[Layout, ...]:
    """The layouts of a size, GroupLens' own last: RecBole's may come with a knowledge graph."""
    own = {
        "100k": Layout(("u.data", "u.item", "u.user"), _read_100k),
        "1m": Layout(("ratings.dat", "movies.dat", "users.dat"), _read_1m),
        "latest-small": Layout(("ratings.csv", "movies.csv"), _read_latest),
    }
    name = f"ml-{size}"
    needed = (f"{name}.inter", f"{name}.item")
    optional = (f"{name}.user", f"{name}.kg", f"{name}.link")
    return Layout(needed, _read_recbole, optional), own[size]


def _read_recbole(files: Sequence[Path], lowest: float) -> Tables:
    sheets = {path.suffix: read_atomic(path) for path in files}
    items = sheets[".item"]
    # Some of RecBole's conversions call the genres "class"; all part them by spaces.
    column = "genre" if "genre" in items.rows.columns else "class"
    genres = [text.replace(NO_GENRE, "").split(" ") for text in items.text(column)]
    ids = items.ids("item_id", unique=True)
    tables = Tables(
        interactions=_ratings(sheets[".inter"], "user_id", "item_id", "timestamp", lowest),
        items=_films(ids, items.text("movie_title"), items.text("release_year"), genres),
    )
    if ".user" in sheets:
        tables = tables.replace(users=_users(sheets[".user"], "user_id"))
    if ".kg" in sheets and ".link" in sheets:
        tables = tables.replace(relations=graph(sheets[".kg"], sheets[".link"]))
    return tables


def _read_100k(files: Sequence[Path], lowest: float) -> Tables:
    ratings = read_lines(files[0], "\t", ("user id", "item id", "rating", "timestamp"))
    films = ("movie id", "movie title", "release date", "video release date", "IMDb URL", *GENRES)
    # GroupLens writes Latin-1; copies that others have saved as UTF-8 are about.
    items = read_lines(files[1], "|", films, ("utf-8", "latin-1"))
    flags = pl.DataFrame([items.choice(genre, ("0", "1")) == "1" for genre in GENRES])
    genres = [list(compress(GENRES, row)) for row in flags.rows()]
    ids = items.ids("movie id", unique=True)
    users = ("user id", "age", "gender", "occupation", "zip code")
    return Tables(
        interactions=_ratings(ratings, "user id", "item id", "timestamp", lowest),
        items=_films(ids, items.text("movie title"), items.text("release date"), genres),
        users=_users(read_lines(files[2], "|", users), "user id"),
    )


def _read_1m(files: Sequence[Path], lowest: float) -> Tables:
    ratings = read_lines(files[0], "::", ("UserID", "MovieID", "rating", "Timestamp"))
    items = read_lines(files[1], "::", ("MovieID", "Title", "Genres"), ("utf-8", "latin-1"))
    users = read_lines(files[2], "::", ("UserID", "gender", "age", "occupation", "Zip-code"))
    return Tables(
        interactions=_ratings(ratings, "UserID", "MovieID", "Timestamp", lowest),
        items=_titled(items, "MovieID", "Title", "Genres"),
        users=_users(users, "UserID"),
    )


def _read_latest(files: Sequence[Path], lowest: float) -> Tables:
    ratings, items = map(read_csv, files)
    return Tables(
        interactions=_ratings(ratings, "userId", "movieId", "timestamp", lowest),
        items=_titled(items, "movieId", "title", "genres"),
    )


def _ratings(sheet: Sheet, user: str, item: str, time: str, lowest: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": sheet.ids(user),
            "item": sheet.ids(item),
            "time": sheet.number(time, 0, LAST_SECOND).cast(pl.Int64),
            "value": sheet.number("rating", lowest, HIGHEST),
            "action": pl.repeat("rate", len(sheet.rows), eager=True),
        }
    )


def _users(sheet: Sheet, user: str) -> pl.DataFrame:
    ages = [
        None if age is None else BANDS[bisect_right(AGES, age)]
        for age in sheet.number("age", 0, 150, optional=True)
    ]
    # 100K names occupations; 1M gives the codes of its README.
    work = sheet.text("occupation").str.to_lowercase()
    codes = {str(code): name for code, name in enumerate(OCCUPATIONS)}
    coded = work.str.contains(r"^\d+$")
    sheet.demand("occupation", ~coded | work.is_in(list(codes)), "is no occupation of the README")
    return pl.DataFrame(
        {
            "user": sheet.ids(user, unique=True),
            "age": pl.Series(ages, dtype=pl.String),
            "gender": sheet.choice("gender", ("M", "F")).replace({"M": "male", "F": "female"}),
            "occupation": work.replace({**codes, "": None}),
        }
    )


def _titled(sheet: Sheet, item: str, title: str, genres: str) -> pl.DataFrame:
    """Films whose year stands in their title and whose genres are parted by a bar."""
    titles = sheet.text(title)
    lists = [text.split("|") for text in sheet.text(genres)]
    return _films(sheet.ids(item, unique=True), titles, [""] * len(titles), lists)


def _films(
    ids: pl.Series, titles: Iterable[str], dates: Iterable[str], genres: Iterable[Sequence[str]]
) -> pl.DataFrame:
    """The table of items; `dates` end in the year and count where the title does not tell it."""
    text = pl.String()
    schema = {"item": text, "title": text, "text": text, "year": text, "genres": pl.List(text)}
    films = [_film(*facts) for facts in zip(ids, titles, dates, genres, strict=True)]
    return pl.DataFrame(films, schema=schema, orient="row")


def _film(
    item: str, title: str, date: str, genres: Sequence[str]
) -> tuple[str, str, str, str | None, list[str] | None]:
    told = YEAR.search(title)
    dated = re.search(r"\d{4}$", date)
    year = told[1] if told else dated[0] if dated else None
    name = TRAILING.sub(_lead, title[: told.start()] if told else title).strip()
    if name.lower() in UNKNOWN and not (name and year):  # a film of 2011 is called "Unknown"
        name = ""
    kinds = [genre for genre in genres if genre.lower() not in UNKNOWN]
    named = f"{name} ({year})" if name and year else name
    text = ". ".join(part for part in (named or year, ", ".join(kinds)) if part)
    return item, named or f"film {item}", text or f"film {item}", year, kinds or None


def _lead(trailing: re.Match[str]) -> str:
    before, name, article = trailing.groups()
    return f"{before}{article}{name}" if article.endswith("'") else f"{before}{article} {name}"
