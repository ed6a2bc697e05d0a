"""Taking over a stage that another run of the same recipe's name finished: it need not be redone.

Runs that differ in what comes after a stage have that stage in common: those of one model by other
explainers, or of one model compressed in several ways. What takes long is done once for them all.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from xrec.files import written
from xrec.runs.store import Store

TAKES_LONG = ("pretrain", "train", "compressed")  # the stages, or what their names begin with


def beside(store: Store, stage: str, key: str) -> Path | None:
    """Copy a stage done for the same key from a run in a folder beside this one's; that folder.

    None if there is none, or it is of a stage that is quickly done. Trackers' logs stay there.
    """
    if stage.partition(".")[0] not in TAKES_LONG:
        return None
    for path in sorted(store.folder.parent.glob(f"*/stages/{stage}.json")):
        folder = path.parents[1]
        if folder != store.folder and Store(folder).finished(stage, key):
            _copy(folder, store.folder, stage)
            if store.finished(stage, key):  # not so if the other went on meanwhile
                return folder
    return None


def _copy(source: Path, folder: Path, stage: str) -> None:
    """Copy a stage's files, each whole, and its record after them."""
    record = f"stages/{stage}.json"
    files = json.loads((source / record).read_text(encoding="utf-8"))["writes"]
    for name in (*files, record):
        with written(folder / name) as partial:
            shutil.copyfile(source / name, partial)
