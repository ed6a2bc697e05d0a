"""Asking clients, and counting those that do not answer as they should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flwr.app import Message
from flwr.serverapp import Grid

GARBAGE = "not as agreed"  # of other names, shapes or types than were asked for


def ask(
    grid: Grid, messages: Iterable[Message], timeout: float, left_out: Counter[str]
) -> dict[int, Message]:
    """What each node answered in time, by its id; the others are counted in `left_out` by why.

    An answer that comes after `timeout` seconds is never looked at.
    """
    sent = list(messages)
    waiting = {message.metadata.dst_node_id for message in sent}
    answers: dict[int, Message] = {}
    for reply in grid.send_and_receive(sent, timeout=timeout):
        node = reply.metadata.src_node_id
        if node not in waiting:
            continue
        waiting.remove(node)
        if reply.has_error():
            left_out[_why(reply)] += 1
        else:
            answers[node] = reply
    left_out["late or gone"] += len(waiting)
    return answers


def _why(reply: Message) -> str:
    """That a client failed, and by what kind of error where it says so in a word."""
    reason = reply.error.reason or ""
    return f"failed ({reason})" if reason.isidentifier() else "failed"


def listed(left_out: Counter[str]) -> str:
    """Counts by why, such as "2 late or gone, 1 far off"."""
    return ", ".join(f"{count} {why}" for why, count in sorted(left_out.items()) if count)
