"""What an explanation took: evaluations, time and memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Cost:
    """The cost of explaining a batch.

    forward, backward: rows that went through `Recommender.score`, and through its gradient.
    seconds: wall time. peak_bytes: the most memory that was held above the start, 0 where the
    device does not tell (the CPU).
    """

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
