"""Who takes part: the clients that are connected and read the model as the server does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from flwr.app import Message
from flwr.serverapp import Grid

from xrec.errors import XrecError
from xrec_plugins.privacy.federation.asking import GARBAGE, ask, listed
from xrec_plugins.privacy.federation.averaging import Member
from xrec_plugins.privacy.federation.exchange import CONFIG, Schema, telling, told
from xrec_plugins.privacy.federation.masking import LEAST

PAUSE = 0.1  # seconds between two looks at who is connected


def greet(
    grid: Grid,
    schema: Schema,
    expected: int,
    secure: bool,
    timeout: float,
    left_out: Counter[str],
    tell: Callable[[str], None],
) -> list[Member]:
    """The clients that take part, once `expected` are connected or `timeout` seconds have passed.

    One with another schema is told of, with what differs, and takes no part. Raises XrecError where
    there are too few.
    """
    nodes = _connected(grid, expected, timeout)
    asked = [Message(telling(CONFIG), node, "query.schema") for node in nodes]
    members, clauses = [], []
    for node, answer in sorted(ask(grid, asked, timeout, left_out).items()):
        try:
            given = told(answer.content, CONFIG)
            number, clause = int(given["number"]), schema.differs(given["schema"])
        except (AttributeError, KeyError, TypeError, ValueError):
            left_out[GARBAGE] += 1
            continue
        if clause:
            left_out["of another schema"] += 1
            clauses.append(f"client {number}: {clause}")
            tell(f"  client {number} takes no part: {clause}")
        else:
            members.append(Member(number, node))
    least = LEAST if secure else 1
    if len(members) < least:
        purpose = "secure aggregation takes" if secure else "it takes"
        why = [listed(left_out)] if left_out.total() else []
        said = f" ({'; '.join([*why, *clauses[:1]])})" if why or clauses else ""
        raise XrecError(
            f"federated: {len(members)} of {expected} clients can take part{said}, and {purpose} "
            f"{least} at least: connect more that have the same recipe"
        )
    return members


def _connected(grid: Grid, expected: int, timeout: float) -> list[int]:
    """The nodes that are connected, once they are as many as expected or the time is over."""
    end = time.monotonic() + timeout
    while len(nodes := list(grid.get_node_ids())) < expected and time.monotonic() < end:
        time.sleep(PAUSE)
    return nodes
