"""The average of the clients' weights, without those that would spoil it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedProx
from numpy.typing import NDArray

from xrec_plugins.privacy.federation.asking import GARBAGE
from xrec_plugins.privacy.federation.exchange import (
    METRICS,
    NAME,
    WINDOWS,
    Arrays,
    clipped,
    flat,
    moved,
    packed,
    unpacked,
)
from xrec_plugins.privacy.federation.fixed_point import WEIGHT
from xrec_plugins.privacy.federation.noise import Noise


@dataclass(frozen=True)
class Member:
    """A client that takes part: its number, and the node that it is to Flower."""

    number: int
    node: int


class Averaging(FedProx):
    """FedProx, which is FedAvg where mu is 0, of replies that are as they should be.

    A share `fraction` of the members takes part in a round, drawn by seed and round, `least` of
    them at least. A reply is left out that has other names, shapes or types than the weights sent,
    or numbers that are not finite, or that moved the weights `far_off` times as far as the lower
    median of the round.

    With noise, every member is drawn by a coin of its own, all weigh the same, what each moved the
    weights by is clipped, and the noise is added to their sum. None is left out as far off then:
    it would depend on the others' updates, which the noise does not hide.
    """

    def __init__(
        self,
        members: Sequence[Member],
        mu: float,
        fraction: float,
        least: int,
        seed: int,
        far_off: float,
        noise: Noise | None = None,
    ) -> None:
        super().__init__(proximal_mu=mu, min_train_nodes=1, min_available_nodes=1)
        self.members = sorted(members, key=lambda member: (member.number, member.node))
        self.share, self.least, self.seed = fraction, least, seed
        self.far_off, self.noise = far_off, noise
        self.sent: dict[str, NDArray[np.float32]] = {}
        self.left_out: Counter[str] = Counter()

    def drawn(self, server_round: int) -> set[int]:
        """The nodes of the members that take part in a round."""
        nodes = [member.node for member in self.members]
        if self.noise is not None:
            secret = random.SystemRandom()
            return {node for node in nodes if secret.random() < self.share}
        count = max(self.least, round(self.share * len(nodes)))
        chosen = random.Random(f"{self.seed} {server_round}")  # noqa: S311
        return set(chosen.sample(nodes, min(count, len(nodes))))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """A message to each that takes part in the round."""
        self.sent, drawn = unpacked(arrays), self.drawn(server_round)
        config["clip"] = self.noise.clip if self.noise else 0.0
        if not list(grid.get_node_ids()):  # for which Flower would wait without end
            return []
        messages = super().configure_train(server_round, arrays, config, grid)
        return [message for message in messages if message.metadata.dst_node_id in drawn]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The average of the replies that are good; None where none is, but with noise."""
        good = self.sifted(replies)
        if self.noise is None:
            return super().aggregate_train(server_round, good) if good else (None, None)
        total = np.zeros(flat(self.sent).shape)
        for reply in good:
            step = self.step(unpacked(reply.content.array_records[NAME]))
            total += clipped(step, self.noise.clip)
        return self.released(total, len(good)), None

    def released(self, total: NDArray[np.float64], weight: float) -> ArrayRecord:
        """The weights after the mean of steps whose weighted sum is `total` (P,)."""
        mean = total / weight if self.noise is None else self.noise.mean(total)
        return packed(moved(self.sent, mean))

    def step(self, weights: Arrays) -> NDArray[np.float64]:
        """(P,) by how much weights differ from those that were sent."""
        return flat({name: weights[name] for name in self.sent}) - flat(self.sent)

    def sifted(self, replies: Iterable[Message]) -> list[Message]:
        """The replies that are good, by the members' numbers; the others are counted."""
        order = {member.node: place for place, member in enumerate(self.members)}
        known = [reply for reply in replies if reply.metadata.src_node_id in order]
        good, norms = [], []
        for reply in sorted(known, key=lambda reply: order[reply.metadata.src_node_id]):
            try:
                norms.append(self._norm(reply.content))
                good.append(reply)
            except (KeyError, TypeError, ValueError):
                self.left_out[GARBAGE] += 1
            except ArithmeticError:
                self.left_out["not finite"] += 1
        return good if self.noise else self._near(good, norms)

    def _near(self, good: list[Message], norms: list[float]) -> list[Message]:
        """The replies that are not far off."""
        middle = sorted(norms)[(len(norms) - 1) // 2] if norms else 0.0
        limit = self.far_off * middle if middle else float("inf")
        near = [reply for reply, norm in zip(good, norms, strict=True) if norm <= limit]
        self.left_out["far off"] += len(good) - len(near)
        return near

    def _norm(self, content: RecordDict) -> float:
        """How far a reply moved the weights.

        Raises KeyError, TypeError or ValueError for one that is not as agreed, ArithmeticError for
        numbers that are not finite.
        """
        if set(content) != {NAME, METRICS} or set(content.metric_records[METRICS]) != {WINDOWS}:
            raise ValueError("other records than were asked for")
        weight: Any = content.metric_records[METRICS][WINDOWS]
        if not 0 < weight <= WEIGHT:
            raise ValueError("the weight is out of range")
        given = _read(content.array_records[NAME])
        if _kinds(given) != _kinds(self.sent):
            raise ValueError("other arrays than were sent")
        step = self.step(given)
        if not np.isfinite(step).all():
            raise ArithmeticError("not finite")
        return float(np.linalg.norm(step))


def _read(record: ArrayRecord) -> dict[str, NDArray[np.float32]]:
    """The arrays of a record. Raises ValueError where its bytes are of none."""
    try:
        return unpacked(record)
    except Exception as error:  # numpy raises many kinds
        raise ValueError("bytes of no array") from error


def _kinds(arrays: Arrays) -> dict[str, tuple[Any, Any]]:
    return {name: (value.shape, value.dtype) for name, value in arrays.items()}
