"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xrec.errors import XrecError


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a partial file to write; it becomes `path` when the block ends well, else it is gone.

    Raises XrecError where the disk is full or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise _explained(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _explained(path: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return XrecError(
            f"the disk is full: {path} was not written; make room and start again, "
            "finished stages are kept"
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
        return XrecError(f"{path} cannot be written: {error.strerror}")
    return error


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
