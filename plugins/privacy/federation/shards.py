"""Users dealt to clients, and data of which only some users' windows are trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.errors import XrecError


def deal(data: Data, clients: int) -> list[Tensor]:
    """The users (U,) int64 of each client, by the data's seed; shares differ by one user at most.

    Raises XrecError where there are fewer users than clients.
    """
    users = len(data.users) - 1
    if clients > users:
        raise XrecError(
            f"federated: {clients:,} clients cannot be made of {users:,} users: set "
            f"privacy's clients to {users:,} or fewer"
        )
    generator = torch.Generator().manual_seed(data.seed)
    order = 1 + torch.randperm(users, generator=generator)
    return [order[client::clients].sort().values for client in range(clients)]


class Shard(Data):
    """Data whose training windows are those of some users (U,) alone; all else is the whole's.

    A round's order and negatives follow from the seed and the round, from 1. Those of the first
    are as in training that is not federated.
    """

    def __init__(self, whole: Data, users: Tensor, number: int) -> None:
        vars(self).update(vars(whole))
        self.mine = users
        self.seed = whole.seed + number - 1
        self.trainer = None

    def windows(self, users: Tensor | None = None) -> Batch:
        """The training windows of the shard's users."""
        return super().windows(self.mine if users is None else users)
