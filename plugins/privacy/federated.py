"""Federated training: the users' data stay with clients, and weights travel in their place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lightning import Trainer

from xrec import hookimpl
from xrec.data.module import Data
from xrec.errors import nearest
from xrec.models.recommender import Recommender
from xrec.runs.run import Run
from xrec_plugins.privacy.federation.conducting import conduct
from xrec_plugins.privacy.federation.masking import LEAST
from xrec_plugins.privacy.federation.noise import Noise, least_multiplier, spent
from xrec_plugins.privacy.federation.rounds import Rounds

STRATEGIES = ("fedavg", "fedprox")
FILE = "privacy/federated.json"
Terms = list[tuple[str, str]]  # each a term, and what it means

OPEN = (
    (
        "validation events",
        "the best round and the end of training are chosen by the run's own validation queries, "
        "which a server of real clients does not have",
    ),
    ("test events and explanations", "figures and reports are made of users' data as they are"),
    ("cleaning and vocabularies", "they are made before training"),
    ("the encoder's own data", "what it was trained on before"),
)
MASKED = (
    "what is masked",
    "it cannot be looked at: a client's false update within its bounds passes, and a server that "
    "does not keep to the protocol can learn more",
)


@dataclass(frozen=True)
class Federated:
    """Training in rounds, by Flower: clients train on their own users, the server averages.

    clients: shares that the users are dealt to. rounds: at most; `train.patience` counts them.
    strategy: fedavg (McMahan et al., 2017), or fedprox (Li et al., 2020) with proximal_mu.
    local_epochs: of a client in a round. fraction: of the clients, that takes part in a round.

    secure_aggregation: the server learns the sum of the updates alone (SecAgg+, Bell et al., 2020).
    neighbours: the clients that each shares masks with then, half on each side; 0: all.

    epsilon: the privacy of a client that all rounds may cost together, at most; none by default.
    delta: the chance that it costs more. clip: how far a client may move the weights.

    far_off: how many times as far as the others a client may move the weights before it is left
    out. timeout: seconds that clients have for an answer. processes: in which they train at once,
    by Flower's simulation runtime; 0: one after the other in this one.
    """

    clients: int = 10
    rounds: int = 20
    strategy: str = "fedavg"
    proximal_mu: float = 0.1
    local_epochs: int = 1
    fraction: float = 1.0
    secure_aggregation: bool = True
    neighbours: int = 0
    epsilon: float | None = None
    delta: float = 1e-5
    clip: float = 1.0
    far_off: float = 10.0
    timeout: float = 600.0
    processes: int = 0
    told: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy is '{self.strategy}': {nearest(self.strategy, STRATEGIES)}")
        for name, least in {"clients": 1, "rounds": 1, "local_epochs": 1, "processes": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least {least}")
        for name in ("proximal_mu", "clip", "timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be above 0")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}, it must be above 0 and at most 1")
        if not self.far_off > 1:
            raise ValueError(f"far_off is {self.far_off}, it must be above 1")
        self._check_secure()
        self._check_private()

    def _check_secure(self) -> None:
        if self.neighbours < 0 or self.neighbours % 2:
            raise ValueError(f"neighbours is {self.neighbours}, it must be even, or 0 for all")
        if self.secure_aggregation and self.clients < LEAST:
            raise ValueError(
                f"secure_aggregation takes {LEAST} clients at least, and clients is {self.clients}:"
                " of a sum of two, each knows the other's part"
            )

    def _check_private(self) -> None:
        if self.epsilon is None:
            return
        if not 0 < self.epsilon < float("inf"):
            raise ValueError(f"epsilon is {self.epsilon}, it must be above 0, or null for none")
        if not 0 < self.delta < 1 / self.clients:
            raise ValueError(
                f"delta is {self.delta}, it must be above 0 and below 1 / clients "
                f"({1 / self.clients:g}): at that chance a client's data might be given away whole"
            )
        if self.secure_aggregation and self.fraction < 1:
            raise ValueError(
                "fraction must be 1 for secure_aggregation with epsilon: clients that are drawn by "
                "coin, as epsilon has it, may be too few to hide among"
            )

    @property
    def mu(self) -> float:
        """Of the proximal term; 0 for fedavg."""
        return self.proximal_mu if self.strategy == "fedprox" else 0.0

    @hookimpl
    def xrec_fit(self, trainer: Trainer, module: Recommender, data: Data) -> list[dict[str, Any]]:
        """Train the module in rounds; returns each round's figures.

        Raises XrecError where clients cannot be had, and TrainingError where no round was of use.
        """
        rounds = Rounds(self, trainer, module, data, self._noise())
        conduct(rounds.conduct, module, data, self.clients, self.processes)
        rounds.finish()
        self.told.update(self._tell(rounds))
        return rounds.best.history

    @hookimpl
    def xrec_trained(self, run: Run) -> None:
        """Write what is private, and what is not, to `FILE`; nothing if none learned."""
        if self.told:
            run.store.write_json(FILE, self.told)

    def _noise(self) -> Noise | None:
        if self.epsilon is None:
            return None
        multiplier = least_multiplier(self.epsilon, self.fraction, self.rounds, self.delta)
        return Noise(self.clip, multiplier, self.fraction * self.clients)

    def _tell(self, rounds: Rounds) -> dict[str, Any]:
        """What is private, to what degree, and what is not."""
        noise = rounds.noise
        cost = noise and spent(noise.multiplier, self.fraction, rounds.done, self.delta)
        return {
            "mechanism": "federated",
            "level": "client",
            "epsilon": cost,
            "delta": self.delta if noise else None,
            "clip": self.clip if noise else None,
            "noise_multiplier": noise.multiplier if noise else None,
            "accountant": "pld" if noise else None,
            "clients": self.clients,
            "fraction": self.fraction,
            "rounds": rounds.done,
            "strategy": self.strategy,
            "secure_aggregation": self.secure_aggregation,
            "left_out": {why: count for why, count in rounds.left_out.items() if count},
            "covered": self._covered(),
            "not_covered": self._not_covered(),
        }

    def _covered(self) -> Terms:
        terms = [("events", "they stay with the clients, which send weights")]
        if self.secure_aggregation:
            terms.append(("a client's update", "the server sees the sum of the updates alone"))
        if self.epsilon is not None:
            terms.append(
                (
                    "a client",
                    "that it took part, with all of its users, is hidden in the weights to the "
                    "degree that epsilon and delta say",
                )
            )
        return terms

    def _not_covered(self) -> Terms:
        terms = list(OPEN)
        if self.secure_aggregation:
            terms.append(MASKED)
        else:
            terms.append(("a client's update", "the server sees it, and how many windows it is of"))
        if self.epsilon is None:
            terms.append(("what the weights give away", "there is no noise on them"))
        else:
            terms.append(("the server", "it adds the noise, and sees the updates or their sum"))
        return terms


@hookimpl
def xrec_mechanisms() -> dict[str, type]:
    """Offer federated training."""
    return {"federated": Federated}
