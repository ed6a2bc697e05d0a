"""The server's part of secure aggregation: it learns the sum of the updates and none of them.

SecAgg+ (Bell et al., 2020) in the four steps that `masking` answers. A client may drop out at any
of them: before its shares are given, as if it had not been asked; after, its masks are taken out by
the key that its peers restore.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.secure_aggregation.crypto.shamir import combine_shares
from flwr.serverapp import Grid
from flwr.supercore.primitives.asymmetric import bytes_to_public_key
from numpy.typing import NDArray

from xrec_plugins.privacy.federation.asking import GARBAGE, ask
from xrec_plugins.privacy.federation.exchange import told
from xrec_plugins.privacy.federation.fixed_point import RANGE, WEIGHT, decoded
from xrec_plugins.privacy.federation.keystream import numbers
from xrec_plugins.privacy.federation.masking import (
    LEAST,
    MASKED,
    SECURE,
    agreed,
    signed,
    threshold,
)

Vector = NDArray[np.uint64]
Read = TypeVar("Read")
NONSENSE = "what some client sent made nonsense of the sum"


class LostError(Exception):
    """A round's sum cannot be had; why, in a clause."""


def ring(nodes: Sequence[int], neighbours: int) -> dict[int, list[int]]:
    """Each node with the others that are next to it in a ring, half on each side; 0: with all."""
    count = len(nodes)
    if not neighbours or neighbours >= count - 1:
        return {node: list(nodes) for node in nodes}
    reach = range(-(neighbours // 2), neighbours // 2 + 1)
    return {node: [nodes[(at + by) % count] for by in reach] for at, node in enumerate(nodes)}


@dataclass
class SecureSum:
    """One round's sum.

    contents: what each node is to train by. size: of an update. neighbours: with how many others
    each shares masks; 0: with all. left_out counts those that the sum is without, by why.
    """

    grid: Grid
    contents: Mapping[int, RecordDict]
    size: int
    neighbours: int
    timeout: float
    left_out: Counter[str]
    keys: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # for masks, for seals
    peers: dict[int, list[int]] = field(default_factory=dict)  # of each node, itself among them

    def total(self) -> tuple[NDArray[np.float64], int, int]:
        """The weighted sum (P,), the weights' sum, and of how many clients.

        Raises LostError where too few are there at some step, or what they say makes no sense.
        """
        self._meet()
        sealed = self._seal()
        masked = self._mask(sealed)
        gone = [node for node in sealed if node not in masked]
        secrets = self._restore(list(masked), gone)
        total: Vector = np.sum(list(masked.values()), axis=0, dtype=np.uint64)
        for node in masked:
            total = total - numbers(secrets[node], len(total))
        for node in gone:
            for peer in (peer for peer in self.peers[node] if peer in masked):
                pair = agreed(secrets[node], self.keys[peer][0])
                total = total - signed(peer, node, pair, len(total))
        found, weight = decoded(total)
        if not 1 <= weight <= WEIGHT * len(masked) or np.abs(found).max() > RANGE * weight:
            raise LostError(NONSENSE)
        return found, weight, len(masked)

    def _meet(self) -> None:
        """Step 1: have each client's public keys, and say who the peers of each are."""
        self.keys = self._read(self._ask("setup", {node: {} for node in self.contents}), _keys)
        nodes = list(self.keys)
        if len(nodes) < LEAST:
            raise LostError(f"{len(nodes)} clients were there, and it takes {LEAST}")
        random.SystemRandom().shuffle(nodes)
        self.peers = ring(nodes, self.neighbours)

    def _seal(self) -> dict[int, dict[int, bytes]]:
        """Step 2: what each client sealed for each of its peers."""
        values = {}
        for node, peers in self.peers.items():
            masks, seals = zip(*(self.keys[peer] for peer in peers), strict=True)
            values[node] = {"peers": peers, "mask": list(masks), "seal": list(seals)}

        def seals_of(node: int, answer: RecordDict) -> dict[int, bytes]:
            given = told(answer, SECURE)
            found: dict[int, bytes] = dict(zip(given["to"], given["sealed"], strict=True))
            if set(found) != set(self.peers[node]) - {node}:
                raise ValueError("sealed for others than its peers")
            return found

        return self._read(self._ask("share", values), seals_of)

    def _mask(self, sealed: Mapping[int, Mapping[int, bytes]]) -> dict[int, Vector]:
        """Step 3: the masked update of each client, once it has the shares of its peers."""
        values = {}
        for node in sealed:
            sources = [peer for peer in self.peers[node] if peer in sealed and peer != node]
            values[node] = {"from": sources, "sealed": [sealed[peer][node] for peer in sources]}

        def vector_of(node: int, answer: RecordDict) -> Vector:
            vector = answer.array_records[MASKED][MASKED].numpy()
            if vector.dtype != np.uint64 or vector.shape != (1 + self.size,):
                raise ValueError("another vector than was asked for")
            return vector

        masked = self._read(self._ask("mask", values, self.contents), vector_of)
        if not masked:
            raise LostError("no client gave an update")
        return masked

    def _restore(self, there: Sequence[int], gone: Sequence[int]) -> dict[int, bytes]:
        """Step 4: the mask's seed of each client that is there, the key of each that is not."""
        values = {
            node: {
                "there": [peer for peer in self.peers[node] if peer in there],
                "gone": [peer for peer in self.peers[node] if peer in gone],
            }
            for node in there
        }
        silent: Counter[str] = Counter()  # not left out: their updates are in the sum
        answers = self._read(self._ask("unmask", values, left_out=silent), _shares, silent)
        shares: dict[int, list[bytes]] = {node: [] for node in (*there, *gone)}
        for helper, given in answers.items():
            for node in set(given) & set(self.peers[helper]):
                shares[node].append(given[node])
        return {node: self._secret(node, found) for node, found in shares.items()}

    def _secret(self, node: int, shares: list[bytes]) -> bytes:
        if len(shares) < threshold(len(self.peers[node])):
            raise LostError("too few clients were left to unmask it")
        try:
            return combine_shares(shares)
        except (ValueError, IndexError) as error:
            raise LostError(NONSENSE) from error

    def _ask(
        self,
        step: str,
        values: Mapping[int, Mapping[str, Any]],
        contents: Mapping[int, RecordDict] | None = None,
        left_out: Counter[str] | None = None,
    ) -> dict[int, RecordDict]:
        """The answers to a step; contents: what a node is sent beside its values."""
        messages = []
        for node, own in values.items():
            content = RecordDict(dict(contents[node]) if contents else {})
            content[SECURE] = ConfigRecord(dict(own))
            messages.append(Message(content, node, f"train.{step}"))
        counted = self.left_out if left_out is None else left_out
        answers = ask(self.grid, messages, self.timeout, counted)
        return {node: answer.content for node, answer in answers.items()}

    def _read(
        self,
        answers: Mapping[int, RecordDict],
        read: Callable[[int, RecordDict], Read],
        left_out: Counter[str] | None = None,
    ) -> dict[int, Read]:
        """What can be read of the answers; who sent garbage is left out."""
        found: dict[int, Read] = {}
        for node, answer in answers.items():
            try:
                found[node] = read(node, answer)
            except (KeyError, TypeError, ValueError):
                (self.left_out if left_out is None else left_out)[GARBAGE] += 1
        return found


def _keys(node: int, answer: RecordDict) -> tuple[bytes, bytes]:
    given = told(answer, SECURE)
    mask, seal = given["mask"], given["seal"]
    if not isinstance(mask, bytes) or not isinstance(seal, bytes):
        raise TypeError("keys are bytes")
    bytes_to_public_key(mask), bytes_to_public_key(seal)
    return mask, seal


def _shares(node: int, answer: RecordDict) -> dict[int, bytes]:
    given = told(answer, SECURE)
    return dict(zip(given["of"], given["shares"], strict=True))
