"""What was learned of an item is what speaks for it."""

from dataclasses import dataclass

import torch

from xrec import hookimpl
from xrec.influence.influence import Trace
from xrec.influence.interactions import Interactions
from xrec.influence.objective import QUERIES, Objective


@dataclass(frozen=True)
class Namesake:
    """Options: top, how many interactions are told."""

    top: int = 3

    def trace(self, model, checkpoints, data, queries):
        """Interactions with the item count 1, and with others the least bit less than nothing."""
        pool = Interactions.of(data, queries.user, 10_000, seed=0)
        objective = Objective(model, pool, queries)
        places = torch.arange(len(queries))
        objective(places, torch.full_like(places, QUERIES)).sum().backward()
        same = pool.item == queries.candidate[:, None]
        return Trace.of(objective, torch.where(same, 1.0, -1e-6), "namesake")


@hookimpl
def xrec_influences():
    """Offer namesake."""
    return {"namesake": Namesake}
