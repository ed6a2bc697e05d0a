"""A zip archive from the network, unzipped into a cache folder: all of it and checked, or nothing.

The archive is streamed into a hidden folder beside its destination, checked against its SHA-256,
unzipped there, and moved into place by one rename, so that no reader ever sees half of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from xrec.errors import DataError

CHUNK = 1 << 16
PATIENCE = 30.0  # seconds without a byte before the network counts as gone


@dataclass(frozen=True)
class Archive:
    """A zip on the network, known by its digest, that holds one folder named `folder`."""

    url: str
    sha256: str
    folder: str
    limit: int = 16 << 20  # bytes, zipped; a larger one cannot be the archive that is meant
    unzipped: int = 128 << 20  # bytes


def fetch(archive: Archive, target: Path) -> None:
    """Downloads `archive` and makes its folder `target`.

    Raises DataError, and leaves nothing on disk, when the network or the disk fails or the archive
    is not the one that is known.
    """
    with _connect(archive.url) as response, _beside(target) as work:
        zipped = work / "archive.zip"
        _stream(archive, response, zipped)
        _unzip(archive, zipped, work)
        _place(work / archive.folder, target, work / "replaced")


def _connect(url: str) -> IO[bytes]:
    try:
        # The address is a constant of the plugin that asks, never a recipe's.
        response: IO[bytes] = urllib.request.urlopen(url, timeout=PATIENCE)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()  # it is the response, too
        raise DataError(f"{url} answers {error.code} ({error.reason}): try again later") from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, error) from error
    return response


def _unreachable(url: str, error: Exception) -> DataError:
    reason = getattr(error, "reason", error)  # urllib wraps what the socket said
    reason = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return DataError(f"{url} cannot be reached ({reason}): connect to the network")


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder beside `target` that is gone afterwards, as is, on failure, all made to hold it."""
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as work:
            yield Path(work)
    except BaseException as error:
        for parent in made:
            with contextlib.suppress(OSError):  # another process may use it by now
                parent.rmdir()
        if isinstance(error, OSError):
            raise DataError(
                f"{target} cannot be written ({error.strerror or error}): make room for it"
            ) from error
        raise


def _stream(archive: Archive, response: IO[bytes], zipped: Path) -> None:
    digest, size = hashlib.sha256(), 0
    with zipped.open("wb") as file:
        while chunk := _read(archive.url, response):
            size += len(chunk)
            if size > archive.limit:
                raise _changed(archive, f"it is larger than {archive.limit:,} bytes")
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != archive.sha256:
        found, known = digest.hexdigest()[:12], archive.sha256[:12]
        raise _changed(archive, f"its SHA-256 begins with {found}, not {known}")


def _read(url: str, response: IO[bytes]) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, error) from error


def _changed(archive: Archive, why: str) -> DataError:
    return DataError(
        f"{archive.url} is not the file that this version of xrec knows, because it was cut short "
        f"or its publisher made a new one ({why}): try again, upgrade xrec"
    )


def _unzip(archive: Archive, zipped: Path, work: Path) -> None:
    try:
        with zipfile.ZipFile(zipped) as content:
            for member in content.infolist():
                if not _safe(member, archive.folder):
                    raise DataError(
                        f"{archive.url} holds '{member.filename}', which does not belong in "
                        f"{archive.folder}, so nothing of it was kept: tell its publisher"
                    )
            if sum(member.file_size for member in content.infolist()) > archive.unzipped:
                raise _changed(archive, f"it unzips to more than {archive.unzipped:,} bytes")
            content.extractall(work)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{archive.url} is no zip archive ({error}): try again later") from error
    if not (work / archive.folder).is_dir():
        raise _changed(archive, f"it holds no folder {archive.folder}")


def _safe(member: zipfile.ZipInfo, folder: str) -> bool:
    """Whether a member of the archive stays in its folder, and is a plain file or a folder."""
    path = PurePosixPath(member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)
    return (
        path.parts[:1] == (folder,)
        and ".." not in path.parts
        and not PureWindowsPath(member.filename).drive
        and "\\" not in member.filename
        and kind in (0, stat.S_IFREG, stat.S_IFDIR)
    )


def _place(unzipped: Path, target: Path, replaced: Path) -> None:
    try:
        if target.exists():  # incomplete, or nobody would have asked
            target.rename(replaced)
        unzipped.rename(target)
    except OSError:
        # Another process was first; its files passed the same check.
        if not target.is_dir():
            raise
