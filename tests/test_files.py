"""Files are written whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from xrec.errors import XrecError
from xrec.files import digest, written


def test_written_whole(tmp_path: Path) -> None:
    with written(tmp_path / "new" / "a.txt") as partial:
        partial.write_text("all")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_text() == "all"


def write_half(path: Path, error: Exception) -> None:
    with written(path) as partial:
        partial.write_text("ha")
        raise error


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half(tmp_path / "a.txt", ZeroDivisionError())
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "cannot be written")]
)
def test_disk_errors_are_told_in_words(tmp_path: Path, code: int, words: str) -> None:
    with pytest.raises(XrecError, match=words):
        write_half(tmp_path / "a.txt", OSError(code, "no"))
    assert not list(tmp_path.iterdir())


def test_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
