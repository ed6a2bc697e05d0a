"""Sufficiency: how far the score falls with only the features said to matter most."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from xrec import hookimpl
from xrec.fidelity.metric import Case
from xrec.fidelity.moving import check_of, check_shares, fall


@dataclass(frozen=True)
class Sufficiency:
    """The fall of the logit with an explanation's first features alone (DeYoung et al., 2020).

    The mean over several shares of the features, those that raise the score most by the
    explanation's word. A difference of logits, never a ratio: a logit may be near zero.

    Options: shares, each rounded up to a whole number of features; of, whose features count: the
    user's, while the item's own are there throughout, or all, as for insertion.

    Pitfalls: below zero where the features that are left out spoke against the item, which is no
    fault; a model has seldom met as few features; of few features several shares are the same
    number; only the order counts, not how much.
    """

    measures: ClassVar[Mapping[str, str]] = {"sufficiency": "lower"}
    sees: ClassVar[Mapping[str, Collection[str]]] = {
        "sufficiency": ("shuffled", "constant", "flipped", "stale", "jittery", "deaf")
    }
    shares: list[float] = field(default_factory=lambda: [0.05, 0.1, 0.2, 0.5])
    of: str = "user"

    def __post_init__(self) -> None:
        check_shares(self.shares)
        check_of(self.of)

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) falls in logits, NaN without a feature to leave in."""
        return {"sufficiency": fall(case, self.shares, self.of, insert=True)}


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer sufficiency."""
    return {"sufficiency": Sufficiency}
