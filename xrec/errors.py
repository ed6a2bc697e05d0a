"""What can go wrong, said to a person: every message tells what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class XrecError(Exception):
    """A mistake in what xrec was given. The command line prints it as one line and exits with 2."""


class RecipeError(XrecError):
    """A recipe key, type or value is wrong; the message names the key."""


class PluginError(XrecError):
    """A plugin is unknown, cannot be imported, or breaks its contract."""


class DataError(XrecError):
    """A data file or table is missing or malformed; the message names file, line and column."""


class RunError(XrecError):
    """A run folder, or something asked of it (a user, an item, an explainer), is not there."""


class TrainingError(XrecError):
    """Training cannot go on; the message names the batch, and the file of the last good weights."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that names the known name closest to `name`, or lists them all if none is close."""
    known = sorted(known)
    if not known:
        return "there is none to choose from"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else "known: " + ", ".join(known)
