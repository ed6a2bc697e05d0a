"""Where a dataset's files lie: in the folder that a recipe names, or under XREC_DATA_DIR."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from xrec.errors import DataError


def find(
    title: str,
    folder: str,
    name: str,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    advice: str = "",
) -> list[Path]:
    """The files `needed`, and those of `optional` that are there too, in the first folder with all.

    Looked through are `folder` if it is given, else `name` in the folder that XREC_DATA_DIR names,
    and that folder. Raises DataError with `advice` where no folder has all that is needed.
    """
    given = Path(folder or os.environ.get("XREC_DATA_DIR", "")).expanduser()
    folders = [given] if folder else [given / name, given]
    if not folder and not os.environ.get("XREC_DATA_DIR"):
        folders = []
    for place in folders:
        if all((place / file).is_file() for file in needed):
            there = [file for file in optional if (place / file).is_file()]
            return [place / file for file in (*needed, *there)]
    looked = f"is not in {' or '.join(map(str, folders))}" if folders else "is to be found nowhere"
    advice = f"{advice}, and " if advice else ""
    raise DataError(
        f"{title} ({', '.join(needed)}) {looked}: {advice}set data.folder, or XREC_DATA_DIR, to "
        "the folder that has it"
    )
