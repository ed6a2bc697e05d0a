"""What a client does where aggregation is secure: it masks its update, and helps to unmask the sum.

SecAgg+ (Bell et al., 2020): each client shares a mask with each of its peers, which one adds and
the other subtracts, and adds one of its own. Shares of what the masks come from (Shamir, 1979) are
with its peers, so that the sum can be had where clients drop out. Keys, shares and seals are
Flower's. The masks are not: Flower's come from 32 bits of their key, which can be guessed.

Node ids are Flower's. What a client remembers from one answer to the next is in its context.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common.secure_aggregation.crypto.shamir import create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import (
    decrypt,
    encrypt,
    generate_shared_key,
)
from flwr.common.secure_aggregation.secaggplus_utils import (
    share_keys_plaintext_concat,
    share_keys_plaintext_separate,
)
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    bytes_to_public_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
)
from numpy.typing import NDArray

from xrec_plugins.privacy.federation.exchange import telling, told
from xrec_plugins.privacy.federation.fixed_point import encoded
from xrec_plugins.privacy.federation.keystream import KEY, numbers

LEAST = 3  # clients: of the sum of two, each would know the other's part
SECURE, MASKED = "secure", "masked"


def threshold(peers: int) -> int:
    """How many of a client's peers, itself among them, must help: more than half."""
    return peers // 2 + 1


def agreed(private: bytes, public: bytes) -> bytes:
    """The key (32 bytes) of one's private and another's public key, the same for both."""
    shared = generate_shared_key(bytes_to_private_key(private), bytes_to_public_key(public))
    return base64.urlsafe_b64decode(shared)


def signed(one: int, other: int, key: bytes, count: int) -> NDArray[np.uint64]:
    """(count,) the mask that a client adds for a peer; that of the peer is its negative."""
    stream = numbers(key, count)
    return stream if one > other else -stream


def setup(message: Message, context: Context) -> RecordDict:
    """Make keys for this round, and give the public ones: for masks, and for seals."""
    keys: dict[str, Any] = {"node": message.metadata.dst_node_id}
    for name in ("mask", "seal"):
        pair = generate_key_pairs()
        keys[f"{name}-private"] = private_key_to_bytes(pair[0])
        keys[f"{name}-public"] = public_key_to_bytes(pair[1])
    _remember(context, keys)
    return telling(SECURE, mask=keys["mask-public"], seal=keys["seal-public"])


def share(message: Message, context: Context) -> RecordDict:
    """Give each peer its shares of the key and the own mask's seed, sealed for it alone.

    Raises ValueError where there are too few peers, or keys that are not as they were made.
    """
    asked, keys = told(message.content, SECURE), told(context.state, SECURE)
    own, peers = keys["node"], asked["peers"]
    public = dict(zip(peers, zip(asked["mask"], asked["seal"], strict=True), strict=True))
    if len(peers) < LEAST or len(public) < len(peers):
        raise ValueError("too few peers")
    if public.get(own) != (keys["mask-public"], keys["seal-public"]):
        raise ValueError("the server changed the keys")
    needed, seed = threshold(len(peers)), os.urandom(KEY)
    seed_shares = create_shares(seed, needed, len(peers))
    key_shares = create_shares(keys["mask-private"], needed, len(peers))
    others, sealed, kept = [], [], {}
    for at, peer in enumerate(peers):
        if peer == own:
            kept = {"seed-share": seed_shares[at], "key-share": key_shares[at]}
            continue
        key = generate_shared_key(
            bytes_to_private_key(keys["seal-private"]), bytes_to_public_key(public[peer][1])
        )
        plain = share_keys_plaintext_concat(own, peer, seed_shares[at], key_shares[at])
        others.append(peer)
        sealed.append(encrypt(key, plain))
    _remember(
        context,
        {**keys, **kept, "seed": seed, **{name: asked[name] for name in ("peers", "mask", "seal")}},
    )
    return telling(SECURE, to=others, sealed=sealed)


def mask(
    message: Message, context: Context, update: NDArray[np.float64], weight: int
) -> RecordDict:
    """Give the update (P,) and its weight, masked.

    Raises ValueError where too few peers sent their shares, a share is not from whom it says, or
    the update is out of range.
    """
    asked, keys = told(message.content, SECURE), told(context.state, SECURE)
    own, needed = keys["node"], threshold(len(keys["peers"]))
    if len(asked["from"]) + 1 < needed:
        raise ValueError("too few peers")
    public = dict(zip(keys["peers"], zip(keys["mask"], keys["seal"], strict=True), strict=True))
    sources, seed_shares, key_shares = [own], [keys["seed-share"]], [keys["key-share"]]
    vector = encoded(update, weight)
    vector += numbers(keys["seed"], len(vector))
    for peer, sealed in zip(asked["from"], asked["sealed"], strict=True):
        key = generate_shared_key(
            bytes_to_private_key(keys["seal-private"]), bytes_to_public_key(public[peer][1])
        )
        source, target, seed_share, key_share = share_keys_plaintext_separate(decrypt(key, sealed))
        if (source, target) != (peer, own) or peer in sources:
            raise ValueError("a share is not from whom it says")
        sources.append(peer)
        seed_shares.append(seed_share)
        key_shares.append(key_share)
        pair = agreed(keys["mask-private"], public[peer][0])
        vector += signed(own, peer, pair, len(vector))
    held = {"sources": sources, "seed-shares": seed_shares, "key-shares": key_shares}
    _remember(context, {**held, "needed": needed})
    return RecordDict({MASKED: ArrayRecord({MASKED: Array(vector)})})


def unmask(message: Message, context: Context) -> RecordDict:
    """Give the shares of the seeds of those who are there, and of the keys of those who are not.

    Once, and never both of one client: with both the server could unmask it. Raises ValueError
    where it is asked for more, or too few are there.
    """
    asked, held = told(message.content, SECURE), told(context.state, SECURE)
    _remember(context, {})
    there, gone = asked["there"], asked["gone"]
    if len(set(there)) < held["needed"]:
        raise ValueError("too few peers")
    if len({*there, *gone}) < len(there) + len(gone):
        raise ValueError("both shares of a client were asked for")
    at = {source: place for place, source in enumerate(held["sources"])}
    shares = [held["seed-shares"][at[node]] for node in there]
    shares += [held["key-shares"][at[node]] for node in gone]
    return telling(SECURE, of=[*there, *gone], shares=shares)


def _remember(context: Context, values: Mapping[str, Any]) -> None:
    context.state[SECURE] = ConfigRecord(dict(values))
