"""Last.fm: listens without times, artists, friends, and the real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xrec.data.tables import Tables
from xrec.errors import DataError
from xrec_plugins.datasets.lastfm import LastFM

FILES = {
    "user_artists.dat": "userID\tartistID\tweight\r\n2\t51\t13883\r\n2\t52\t11690\r\n3\t51\t1\r\n",
    "artists.dat": "id\tname\turl\tpictureURL\r\n51\tDuran Duran\thttp://x\thttp://y\r\n"
    "52\tBjörk \thttp://x\t\r\n53\t\t\t\r\n",
    "user_friends.dat": "userID\tfriendID\r\n2\t3\r\n3\t2\r\n2\t9\r\n",
}
TAGS = {
    "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\r\n"
    + "".join(
        f"{user}\t51\t{tag}\t1\t4\t2009\r\n"
        for user, tag in [(2, 2), (3, 2), (2, 1), (2, 4), (2, 3)]
    ),
    "tags.dat": "tagID\ttagValue\r\n1\tpop\r\n2\tnew wave\r\n3\tchanson française\r\n4\t80s\r\n",
}


def _write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        encoding = "latin-1" if name == "tags.dat" else "utf-8"
        (folder / name).write_bytes(text.encode(encoding))
    return folder


def _load(folder: Path, files: dict[str, str]) -> Tables:
    return LastFM(folder=str(_write(folder, files))).load().check("lastfm")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XREC_DATA_DIR", raising=False)


def test_listens_have_plays_and_no_time(tmp_path: Path):
    tables = _load(tmp_path, FILES)
    assert tables.interactions.rows()[0] == ("2", "51", None, 13883.0, "listen")
    assert tables.users["user"].to_list() == ["2", "3"]


def test_artists_are_read_by_their_names(tmp_path: Path):
    assert _load(tmp_path, FILES).items.rows() == [
        ("51", "Duran Duran", "Duran Duran"),
        ("52", "Björk", "Björk"),
        ("53", None, None),
    ]


def test_tags_are_read_with_the_name_those_given_most_first(tmp_path: Path):
    items = _load(tmp_path, FILES | TAGS).items
    tags = ["new wave", "80s", "chanson française"]
    assert items.row(0) == ("51", "Duran Duran", f"Duran Duran. {', '.join(tags)}", tags)
    assert items.row(1) == ("52", "Björk", "Björk", None)


def test_friends_are_told_both_ways_and_once(tmp_path: Path):
    files = FILES | {"user_friends.dat": "userID\tfriendID\r\n2\t3\r\n2\t3\r\n2\t9\r\n"}
    for given in (FILES, files):  # 9 listens to nothing
        assert _load(tmp_path, given).relations.sort("subject").rows() == [
            ("2", "friend", "3"),
            ("3", "friend", "2"),
        ]


WRONG = [
    ("user_artists.dat", "13883", "often", "line 2, column 3 (weight): 'often' is not a number"),
    ("user_artists.dat", "13883", "-1", "line 2, column 3 (weight): '-1' is not a number from 0 "),
    ("user_artists.dat", "2\t51", "\t51", "line 2, column 1 (userID): '' is no id: it is empty"),
    ("artists.dat", "52\t", "51\t", "line 3, column 1 (id): '51' is the id of an earlier line too"),
    ("artists.dat", "\thttp://y", "", "line 2, column 4 (pictureURL): the row has 3 fields"),
    ("user_friends.dat", "friendID", "friend", "line 1: there is no column 'friendID' among"),
    ("user_taggedartists.dat", "\t4\t1", "\t7\t1", "column 3 (tagID): '7' is no tag of tags.dat"),
]


@pytest.mark.parametrize(("name", "old", "new", "said"), WRONG)
def test_malformed(tmp_path: Path, name: str, old: str, new: str, said: str):
    files = FILES | TAGS
    assert old in files[name]
    with pytest.raises(DataError) as raised:
        _load(tmp_path, files | {name: files[name].replace(old, new, 1)})
    assert said in str(raised.value)
    assert str(tmp_path / name) in str(raised.value)


def test_nowhere(tmp_path: Path):
    _write(tmp_path, {"artists.dat": FILES["artists.dat"]})
    with pytest.raises(DataError) as raised:
        LastFM(folder=str(tmp_path)).sources()
    assert str(raised.value) == (
        f"Last.fm 2K (user_artists.dat, artists.dat, user_friends.dat) is not in {tmp_path}: get "
        "hetrec2011-lastfm-2k.zip from https://grouplens.org/datasets/hetrec-2011/, and set "
        "data.folder, or XREC_DATA_DIR, to the folder that has it"
    )


DATA = os.environ.get("XREC_DATA_DIR", "")


@pytest.mark.skipif(not DATA, reason="XREC_DATA_DIR is not set")
def test_the_real_files(monkeypatch: pytest.MonkeyPatch):
    """Every line is a listen, an artist or a friendship, which is told both ways."""
    monkeypatch.setenv("XREC_DATA_DIR", DATA)
    tables = LastFM().load().check("lastfm")
    lines = {
        path.name: [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]]
        for path in LastFM().sources()
        if path.name != "tags.dat"
    }
    assert len(tables.interactions) == len(lines["user_artists.dat"]) > 90_000
    assert len(tables.items) == len(lines["artists.dat"]) == 17_632
    assert set(tables.users["user"]) == {user for user, *_ in lines["user_artists.dat"]}
    friends = {tuple(pair) for pair in lines["user_friends.dat"]}
    told = set(tables.relations.select("subject", "object").iter_rows())
    assert told == friends | {(other, one) for one, other in friends}
    assert len(tables.relations) == len(told)
