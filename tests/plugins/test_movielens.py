"""The MovieLens dataset: its layouts, its complaints, its download, and the real 100K."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xrec.data.tables import Tables
from xrec.errors import DataError
from xrec_plugins.datasets import download, movielens
from xrec_plugins.datasets.movielens import MovieLens

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ITEM = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
USER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
RECBOLE = {
    "ml-100k.inter": INTER + "7\t1\t5\t881250949\n8\t267\t1\t891717742\n",
    "ml-100k.item": ITEM
    + "1\tToy Story\t1995\tAnimation Children's Comedy\n"
    + "267\tunkonwn\tunkonwn\tunknown\n"
    + "1412\tLand Before Time III (1995)\tV\tAnimation Children's\n",
    "ml-100k.user": USER + "7\t24\tM\ttechnician\t85711\n8\t7\tF\tother\t94043\n",
}
GRAPH = {
    "ml-100k.kg": "head_id:token\trelation_id:token\ttail_id:token\n"
    "m.1\tfilm.sequel\tm.2\nm.1\tfilm.actor\tm.9\nm.9\tactor.film\tm.1\n",
    "ml-100k.link": "item_id:token\tentity_id:token\n1\tm.1\n1412\tm.2\n",
}
NONE = "|0" * 19


def _flags(*genres: str) -> str:
    return "".join(f"|{int(genre in genres)}" for genre in movielens.GENRES)


OWN_100K = {
    "u.data": "7\t1\t5\t881250949\n8\t543\t1\t891717742\n",
    "u.item": (
        f"1|Toy Story (1995)|01-Jan-1995||http://x{_flags('Animation', 'Comedy')}\n"
        f"267|unknown||||{_flags('unknown')[1:]}\n"
        f"543|Misérables, Les (1995)|01-Jan-1995||{NONE}\n"
        f"1412|Land Before Time III (1995) (V)|01-Jan-1995||{NONE}\n"
        f"5|No Year|12-Mar-1997||{NONE}\n\n"
    ).encode("latin-1"),
    "u.user": "7|24|M|technician|85711\n8|73|F|other|94043\n",
}
OWN_1M = {
    "ratings.dat": "1::1193::5::978300760\n2::6::3::978302109\n",
    "movies.dat": (
        "1193::One Flew Over the Cuckoo's Nest (1975)::Drama\n6::Mépris, Le (1963)::Drama|Romance\n"
    ).encode("latin-1"),
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::0::55117\n",
}
LATEST = {
    "ratings.csv": "userId,movieId,rating,timestamp\r\n1,1,0.5,964982703\r\n1,3,4.5,964981247\r\n",
    "movies.csv": "movieId,title,genres\r\n"
    '1,"Matrix, The (1999)",Action|Sci-Fi\r\n'
    '3,"Seven (a.k.a. Se7en) (1995) ",Mystery\r\n'
    "4,Death Note: Desu nôto (2006–2007),(no genres listed)\r\n"
    '5,"Say ""Hi"", O (1999)",Comedy\r\n'
    "6,Babylon 5,(no genres listed)\r\n"
    "7,Unknown (2011),Action\r\n",
}
LAYOUTS = {"100k": RECBOLE, "own": OWN_100K, "1m": OWN_1M, "latest-small": LATEST}


def _write(folder: Path, files: dict[str, str] | dict[str, bytes | str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        content = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(content)
    return folder


def _load(folder: Path, files: dict, size: str = "100k") -> Tables:
    tables = MovieLens(size=size, folder=str(_write(folder, files))).load()
    return tables.check("movielens")


def _films(tables: Tables) -> dict[str, dict]:
    return {row["item"]: row for row in tables.items.to_dicts()}


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data, an empty cache (which it returns), and a server that refuses connections."""
    monkeypatch.delenv("XREC_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(movielens, "URL", "http://127.0.0.1:9/")
    cache = tmp_path / "home" / "cache"
    (tmp_path / "home").mkdir()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: cache / name)
    return cache / "xrec"


# Layouts


def test_recbole(tmp_path):
    tables = _load(tmp_path, RECBOLE)
    assert tables.interactions.to_dicts()[0] == {
        "user": "7", "item": "1", "time": 881250949, "value": 5.0, "action": "rate"
    }  # fmt: skip
    assert tables.users.rows() == [
        ("7", "18-24", "male", "technician"),
        ("8", "under 18", "female", "other"),
    ]
    films = _films(tables)
    assert films["1"] == {
        "item": "1",
        "title": "Toy Story (1995)",
        "text": "Toy Story (1995). Animation, Children's, Comedy",
        "year": "1995",
        "genres": ["Animation", "Children's", "Comedy"],
    }
    assert films["267"] == {
        "item": "267", "title": "film 267", "text": "film 267", "year": None, "genres": None
    }  # fmt: skip
    assert films["1412"]["title"] == "Land Before Time III (1995)"
    assert films["1412"]["year"] == "1995"
    assert tables.relations.is_empty()


def test_recbole_without_users(tmp_path):
    files = {name: text for name, text in RECBOLE.items() if not name.endswith("user")}
    assert _load(tmp_path, files).users.is_empty()


def test_recbole_1m_gives_ages_and_occupations_as_codes(tmp_path):
    files = {
        "ml-1m.inter": INTER + "1\t1\t5\t978300760\n",
        "ml-1m.item": ITEM.replace("class", "genre") + "1\tX\t1995\t(no genres listed)\n",
        "ml-1m.user": USER + "1\t1\tF\t10\t48067\n2\t\t\t\t\n",
    }
    tables = _load(tmp_path, files, "1m")
    assert tables.users.rows() == [
        ("1", "under 18", "female", "k-12 student"),
        ("2", None, None, None),
    ]
    assert tables.items.rows() == [("1", "X (1995)", "X (1995)", "1995", None)]


def test_recbole_knowledge_graph(tmp_path):
    relations = _load(tmp_path, RECBOLE | GRAPH).relations
    assert relations.rows() == [("1", "film.sequel", "1412"), ("1", "film.actor", "m.9")]


def test_graph_without_links_is_left_out(tmp_path):
    files = RECBOLE | {"ml-100k.kg": GRAPH["ml-100k.kg"]}
    assert _load(tmp_path, files).relations.is_empty()


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_own_100k(tmp_path, encoding):
    items = OWN_100K["u.item"].decode("latin-1").encode(encoding)
    tables = _load(tmp_path, OWN_100K | {"u.item": items})
    films = _films(tables)
    assert tables.interactions["value"].to_list() == [5.0, 1.0]
    assert tables.users["age"].to_list() == ["18-24", "56+"]
    assert films["1"]["text"] == "Toy Story (1995). Animation, Comedy"
    assert films["543"]["title"] == "Les Misérables (1995)"
    assert films["543"]["genres"] is None
    assert films["267"]["title"] == films["267"]["text"] == "film 267"
    assert films["1412"]["title"] == "Land Before Time III (1995)"
    assert films["5"]["title"] == "No Year (1997)"


def test_own_1m(tmp_path):
    tables = _load(tmp_path, OWN_1M, "1m")
    assert tables.users.rows() == [
        ("1", "under 18", "female", "k-12 student"),
        ("2", "56+", "male", "self-employed"),
        ("3", "25-34", "male", "other"),
    ]
    assert _films(tables)["6"]["text"] == "Le Mépris (1963). Drama, Romance"
    assert tables.interactions["time"].to_list() == [978300760, 978302109]


def test_latest_small(tmp_path):
    tables = _load(tmp_path, LATEST, "latest-small")
    films = _films(tables)
    assert tables.users.is_empty()
    assert tables.interactions["value"].to_list() == [0.5, 4.5]
    assert films["1"]["text"] == "The Matrix (1999). Action, Sci-Fi"
    assert films["3"]["title"] == "Seven (a.k.a. Se7en) (1995)"
    assert films["4"]["title"] == "Death Note: Desu nôto (2006)"
    assert films["4"]["genres"] is None
    assert films["5"]["title"] == 'O Say "Hi" (1999)'
    assert films["6"]["title"] == films["6"]["text"] == "Babylon 5"
    assert films["6"]["year"] is None
    assert films["7"]["title"] == "Unknown (2011)"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Godfather: Part II, The", "The Godfather: Part II"),
        ("Beans of Egypt, Maine, The", "The Beans of Egypt, Maine"),
        ("Enfer, L'", "L'Enfer"),
        ("Star Maker, The (Uomo delle stelle, L')", "The Star Maker (L'Uomo delle stelle)"),
        ("Thieves (a.k.a. Robbers, The)", "Thieves (a.k.a. The Robbers)"),
        ("Paris, Texas", "Paris, Texas"),
        ("Kiss Me, Guido", "Kiss Me, Guido"),
    ],
)
def test_trailing_article_leads(written, read):
    title = movielens._film("1", f"{written} (1995)", "", [])[1]
    assert title == f"{read} (1995)"


def test_film_without_a_title_keeps_what_is_known():
    film = movielens._film("9", "", "1995", ["Comedy", "unknown"])
    assert film == ("9", "film 9", "1995. Comedy", "1995", ["Comedy"])


# Where it is looked for


def test_bad_size():
    with pytest.raises(ValueError, match=r"^size 'foo' is not one of 100k, 1m, latest-small$"):
        MovieLens(size="foo")


@pytest.mark.parametrize("folder", ["", "ml-100k"])
def test_found_under_the_environment_variable(tmp_path, monkeypatch, folder):
    data = tmp_path / "data"
    _write(data / folder, RECBOLE)
    monkeypatch.setenv("XREC_DATA_DIR", str(data))
    assert MovieLens().sources() == [data / folder / name for name in RECBOLE]


def test_found_in_the_cache(nowhere, monkeypatch, tmp_path):
    _write(nowhere / "movielens" / "ml-1m", OWN_1M)
    monkeypatch.setenv("XREC_DATA_DIR", str(tmp_path))
    assert len(MovieLens(size="1m").load().interactions) == 2


def test_incomplete_folder_is_passed_over(nowhere, monkeypatch, tmp_path):
    _write(tmp_path / "ml-1m", {"ratings.dat": OWN_1M["ratings.dat"]})
    cached = _write(nowhere / "movielens" / "ml-1m", OWN_1M)
    monkeypatch.setenv("XREC_DATA_DIR", str(tmp_path))
    assert MovieLens(size="1m").sources()[0].parent == cached


def test_explicit_folder_is_never_replaced_by_another(nowhere, tmp_path):
    _write(nowhere / "movielens" / "ml-100k", OWN_100K)
    with pytest.raises(DataError, match=r"MovieLens 100k is not in .*u.data, u.item, u.user"):
        MovieLens(folder=str(tmp_path)).sources()


# Malformed files: (layout, file, what to replace, with what, what is said)

WRONG = [
    ("100k", "ml-100k.inter", "rating:float", "stars:float", "line 1: there is no column 'rating'"),
    ("100k", "ml-100k.item", "class:", "kind:", "line 1: there is no column 'class'"),
    ("100k", "ml-100k.item", "class:", "item_id:", "line 1, column 4: 'item_id' names an earlier"),
    ("100k", "ml-100k.item", "class:", ":", "line 1, column 4: it has no name"),
    ("100k", "ml-100k.inter", "8\t267\t1\t", "8\t1\t", r"line 3, column 4 \(timestamp\): the row"),
    ("100k", "ml-100k.inter", "7\t1\t5", "7\t1\t5\t9", "line 2, column 5: the row has 5 fields"),
    ("100k", "ml-100k.inter", "\t1\t891", "\tx\t891", r"line 3, column 3 \(rating\): 'x' is not a"),
    ("100k", "ml-100k.inter", "\t1\t891", "\tnan\t891", r"\(rating\): 'nan' is not a number"),
    ("100k", "ml-100k.inter", "\t1\t891", "\t0.5\t891", r"'0.5' is not a number from 1 to 5"),
    ("100k", "ml-100k.inter", "\t1\t891", "\t6\t891", r"line 3, column 3 \(rating\): '6' is not"),
    ("100k", "ml-100k.inter", "\t5\t881", "\t\t881", r"line 2, column 3 \(rating\): '' is not"),
    ("100k", "ml-100k.inter", "881250949", "noon", r"line 2, column 4 \(timestamp\): 'noon' is"),
    ("100k", "ml-100k.inter", "881250949", "881250949000", r"from 0 to 4294967296"),
    ("100k", "ml-100k.inter", "\n8\t267", "\n\n\t267", r"line 4, column 1 \(user_id\): '' is no"),
    ("100k", "ml-100k.item", "1412\t", "1\t", r"line 4, column 1 \(item_id\): '1' is the id of an"),
    ("100k", "ml-100k.user", "7\t24\tM", "7\t24\tX", r"line 2, column 3 \(gender\): 'X' is not"),
    ("100k", "ml-100k.user", "7\t24", "7\told", r"line 2, column 2 \(age\): 'old' is not a number"),
    ("own", "u.data", "\t5\t", "\t9\t", r"line 1, column 3 \(rating\): '9' is not a number"),
    ("own", "u.item", "|0|0|0", "|2|0|0", r"line 1, column 6 \(unknown\): '2' is not one of"),
    ("own", "u.item", "|0|0|0", "|0|0", r"line 1, column 24 \(Western\): the row has 23 fields"),
    ("1m", "ratings.dat", "6::3", "6:3", r"line 2, column 4 \(Timestamp\): the row has 3 fields"),
    ("1m", "users.dat", "::16::", "::21::", r"line 2, column 4 \(occupation\): '21' is no"),
    ("latest-small", "ratings.csv", "0.5", "0.4", r"line 2, column 3 \(rating\): '0.4' is not"),
    ("latest-small", "ratings.csv", "4.5", "5.5", r"line 3, .* is not a number from 0.5 to 5"),
    ("latest-small", "movies.csv", "Babylon 5", "A, B", r"line 6, column 4: the row has 4 fields"),
    ("latest-small", "movies.csv", "Babylon 5", '"B', r"line 6: the quoting is broken"),
    ("latest-small", "movies.csv", "title", "name", "there is no column 'title' among mov"),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "name", "old", "new", "said"), WRONG)
def test_malformed(tmp_path, layout, name, old, new, said):
    content = LAYOUTS[layout][name]
    text = content.decode("latin-1") if isinstance(content, bytes) else content
    files = LAYOUTS[layout] | {name: text.replace(old, new, 1).encode("latin-1", "ignore")}
    if name == "movies.csv":
        files[name] = text.replace(old, new, 1).encode()
    assert old in text
    with pytest.raises(DataError, match=said) as caught:
        _load(tmp_path, files, "100k" if layout == "own" else layout)
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert "\n" not in message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_empty_file(tmp_path, layout):
    name = next(iter(LAYOUTS[layout]))
    with pytest.raises(DataError, match=f"{name} is empty"):
        _load(tmp_path, LAYOUTS[layout] | {name: "\n"}, "100k" if layout == "own" else layout)


@pytest.mark.parametrize("layout", ["100k", "latest-small"])
def test_header_without_rows(tmp_path, layout):
    name, content = next(iter(LAYOUTS[layout].items()))
    files = LAYOUTS[layout] | {name: content.splitlines()[0] + "\n"}
    with pytest.raises(DataError, match=f"{name} has a header and no rows"):
        _load(tmp_path, files, layout)


@pytest.mark.parametrize(
    ("layout", "name", "place"),
    [
        ("100k", "ml-100k.item", "line 3, column 2"),
        ("latest-small", "movies.csv", "line 4, column 2"),
    ],
)
def test_wrong_encoding(tmp_path, layout, name, place):
    content = LAYOUTS[layout][name].replace("unkonwn", "é", 1).replace("–", "-")
    files = LAYOUTS[layout] | {name: content.encode("latin-1")}
    with pytest.raises(DataError, match=f"{name}, {place}: the byte 0x.. is not UTF-8"):
        _load(tmp_path, files, layout)


def test_byte_order_mark_and_blank_lines_do_no_harm(tmp_path):
    files = {name: b"\xef\xbb\xbf" + text.encode() + b"\n\n" for name, text in RECBOLE.items()}
    assert len(_load(tmp_path, files).items) == 3


def test_unreadable_file(tmp_path, monkeypatch):
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    _write(tmp_path, RECBOLE)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"ml-100k.inter cannot be read: Permission denied"):
        MovieLens(folder=str(tmp_path)).load()


def test_interactions_with_unknown_films_and_users_are_left_to_cleaning(tmp_path):
    files = RECBOLE | {"ml-100k.inter": INTER + "99\t99\t3\t881250949\n"}
    assert _load(tmp_path, files).interactions["item"].to_list() == ["99"]


# The download

Serve = Callable[[bytes], None]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serves bytes as the archive of every size, and declares them to be the known ones."""

    class Handler(http.server.BaseHTTPRequestHandler):
        content = b""

        def do_GET(self) -> None:
            if self.content:
                self.send_response(200)
                self.send_header("Content-Length", str(len(self.content)))
                self.end_headers()
                self.wfile.write(self.content)
            else:
                self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(movielens, "URL", f"http://127.0.0.1:{server.server_port}/")

    def offer(content: bytes) -> None:
        Handler.content = content
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setattr(movielens, "SHA256", dict.fromkeys(movielens.SHA256, digest))

    yield offer
    server.shutdown()
    server.server_close()


def _zip(files: dict) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _archive(size: str, files: dict) -> bytes:
    return _zip({f"ml-{size}/{name}": content for name, content in files.items()})


def _said(size: str = "100k") -> str:
    with pytest.raises(DataError) as caught:
        MovieLens(size=size).sources()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("size", "files"), [("100k", OWN_100K), ("1m", OWN_1M), ("latest-small", LATEST)]
)
def test_download(serve, nowhere, size, files):
    serve(_archive(size, files))
    folder = nowhere / "movielens" / f"ml-{size}"
    assert MovieLens(size=size).sources() == [folder / name for name in files]
    serve(b"")  # the second time nothing is asked of the network
    assert len(MovieLens(size=size).load().interactions) == 2
    assert os.listdir(folder.parent) == [folder.name]


def test_download_replaces_an_incomplete_folder(serve, nowhere):
    folder = _write(nowhere / "movielens" / "ml-100k", {"u.data": "stale"})
    serve(_archive("100k", OWN_100K))
    MovieLens().load()
    assert os.listdir(folder.parent) == ["ml-100k"]


def test_a_download_that_another_process_won_is_good(serve, nowhere, monkeypatch):
    serve(_archive("100k", OWN_100K))
    folder = nowhere / "movielens" / "ml-100k"
    place = download._place

    def late(unzipped: Path, target: Path, replaced: Path) -> None:
        monkeypatch.setattr(Path, "exists", lambda self: False)
        _write(folder, OWN_100K)
        place(unzipped, target, replaced)

    monkeypatch.setattr(download, "_place", late)
    assert MovieLens().sources()[0] == folder / "u.data"


def test_wrong_checksum_leaves_nothing(serve, nowhere, monkeypatch):
    serve(_archive("latest-small", LATEST))
    monkeypatch.setattr(movielens, "SHA256", {"latest-small": "0" * 64})
    said = _said("latest-small")
    assert "its publisher made a new one (its SHA-256 begins with" in said
    assert "not 000000000000): try again, upgrade xrec, or set XREC_DATA_DIR" in said
    assert not nowhere.parent.exists()


def test_failure_keeps_what_was_there(serve, nowhere):
    _write(nowhere / "movielens" / "ml-1m", OWN_1M)
    serve(b"no zip")
    assert "is no zip archive" in _said()
    assert os.listdir(nowhere / "movielens") == ["ml-1m"]


def test_offline(nowhere, tmp_path, monkeypatch):
    monkeypatch.setenv("XREC_DATA_DIR", str(tmp_path / "data"))
    said = _said()
    assert said.startswith("MovieLens 100k (ml-100k.inter, ml-100k.item or u.data, u.item, u.user)")
    assert f"is not in {tmp_path / 'data'}" in said
    assert str(nowhere / "movielens" / "ml-100k") in said
    assert "cannot be reached (Connection refused): connect to the network" in said
    assert said.endswith("or set XREC_DATA_DIR to a folder that has ml-100k")
    assert not nowhere.parent.exists()


def test_server_error(serve, nowhere):
    serve(b"")
    assert "answers 404 (Not Found): try again later" in _said()
    assert not nowhere.parent.exists()


def test_connection_lost(serve, nowhere, monkeypatch):
    def lost(url: str, response: object) -> bytes:
        raise download._unreachable(url, TimeoutError("timed out"))

    serve(_archive("100k", OWN_100K))
    monkeypatch.setattr(download, "_read", lost)
    assert "cannot be reached (timed out)" in _said()
    assert not nowhere.parent.exists()


@pytest.mark.parametrize("limit", ["limit", "unzipped"])
def test_oversized(serve, nowhere, monkeypatch, limit):
    archive = download.Archive
    monkeypatch.setattr(movielens, "Archive", lambda *args: archive(*args, **{limit: 100}))
    serve(_archive("100k", OWN_100K))
    assert "100 bytes" in _said()
    assert not nowhere.parent.exists()


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "ml-100k/../../escaped",
        "/escaped",
        "ml-100k/..\\escaped",
        "C:/escaped",
        "other/x",
    ],
)
def test_traversal(serve, nowhere, tmp_path, name):
    good = {f"ml-100k/{file}": content for file, content in OWN_100K.items()}
    serve(_zip(good | {name: "boo"}))
    assert "does not belong in ml-100k, so nothing of it was kept" in _said()
    assert not nowhere.parent.exists()
    assert not list(tmp_path.rglob("*escaped*"))


def test_symbolic_link(serve, nowhere):
    link = zipfile.ZipInfo("ml-100k/link")
    link.external_attr = 0o120777 << 16
    serve(_zip({link: "/etc/passwd"}))
    assert "'ml-100k/link', which does not belong" in _said()
    assert not nowhere.parent.exists()


def test_archive_without_the_folder_or_the_files(serve, nowhere):
    serve(_zip({}))
    assert "it holds no folder ml-100k" in _said()
    assert not nowhere.parent.exists()


def test_cache_that_cannot_be_written(serve, nowhere):
    nowhere.parent.write_text("a file where the folder would be")
    serve(_archive("100k", OWN_100K))
    assert "cannot be written (" in _said()


# The real data

DATA = os.environ.get("XREC_DATA_DIR", "")


@pytest.mark.skipif(not DATA, reason="XREC_DATA_DIR names no folder with ml-100k")
def test_real_100k(monkeypatch):
    monkeypatch.setenv("XREC_DATA_DIR", DATA)
    start = time.perf_counter()
    tables = MovieLens().load().check("movielens")
    assert time.perf_counter() - start < 5
    assert (len(tables.interactions), len(tables.users), len(tables.items)) == (100_000, 943, 1_682)
    first = _films(tables)["1"]
    assert first["title"] == "Toy Story (1995)"
    assert first["text"] == "Toy Story (1995). Animation, Children's, Comedy"
    assert tables.items["text"].str.len_chars().min() > 0
    assert tables.items["year"].null_count() == 1
    assert set(tables.items["genres"].explode().drop_nulls()) == set(movielens.GENRES[1:])
    assert tables.users["age"].is_in(movielens.BANDS).all()
