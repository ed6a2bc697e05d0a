"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def save_tensors(
    tensors: Mapping[str, Any], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file. Raises OSError where that fails, as other ways of writing do."""
    from safetensors import SafetensorError  # torch comes with them, and takes its time
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        raise OSError(int(code[1]), os.strerror(int(code[1]))) if code else error from error


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
