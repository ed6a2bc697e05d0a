"""What a recipe may say of each part of a run: typed options, checked as they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xrec.errors import nearest


@dataclass(frozen=True)
class DataOptions:
    """data: how any dataset is cleaned, split and cut into windows."""

    split: str = "leave_last_out"  # or leave_random_out: of each user, one event in any order
    clean: Any = "default"  # or none, or a list of steps, "default" standing for its own
    history: int = 50  # events that a model looks back on
    min_events: int = 3  # users with fewer are left out: train, validate and test need one each
    exclude_seen: bool = True  # rank only items that the user has not had

    def __post_init__(self) -> None:
        _one_of("split", self.split, ("leave_last_out", "leave_random_out"))
        _at_least("history", self.history, 1)
        _at_least("min_events", self.min_events, 3)


@dataclass(frozen=True)
class TrainOptions:
    """train: how the model is fitted."""

    epochs: int = 20
    batch: int = 64  # windows of history a step
    optimizer: str = "adamw"
    lr: float = 1e-3
    rates: dict[str, float] = field(default_factory=dict)  # of parts of the model, by name
    weight_decay: float = 0.01
    momentum: float = 0.9  # SGD only
    negatives: int = 128  # sampled a window
    clip: float = 1.0  # largest norm of the gradient
    monitor: str = "val_ndcg@10"  # whose best epoch is kept; train_loss: what fits best
    patience: int = 5  # epochs without a better `monitor` before stopping
    validate: int = 0  # users, drawn by the seed, whose queries validate each epoch; 0: all
    precision: str = "32"  # bf16: forward and backward in bfloat16 where that is safe
    checkpoint: int = 200  # steps between checkpoints within an epoch; 0: none, at its end neither
    keep: int = 0  # the most epochs whose weights are kept, for `influence:` to look back on

    def __post_init__(self) -> None:
        _one_of("optimizer", self.optimizer, ("adamw", "sgd"))
        for name in ("epochs", "batch", "negatives", "patience"):
            _at_least(name, getattr(self, name), 1)
        _one_of("precision", self.precision, ("32", "bf16"))
        for name in ("checkpoint", "keep", "validate"):
            _at_least(name, getattr(self, name), 0)
        if self.lr <= 0 or self.clip <= 0 or any(rate <= 0 for rate in self.rates.values()):
            raise ValueError("lr, clip and rates must be above 0")


@dataclass(frozen=True)
class PretrainOptions:
    """pretrain: how the encoder is trained further on the items' texts, before it encodes them."""

    name: str = "mlm"  # masked-language modelling
    epochs: int = 3
    lr: float = 5e-5
    batch: int = 32  # texts a step
    mask: float = 0.15  # share of a text's tokens that is to be guessed
    held_out: float = 0.1  # share of the texts that are not learned from, for the perplexity

    def __post_init__(self) -> None:
        _one_of("name", self.name, ("mlm",))
        for name in ("epochs", "batch"):
            _at_least(name, getattr(self, name), 1)
        if self.lr <= 0:
            raise ValueError("lr must be above 0")
        for name in ("mask", "held_out"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be between 0 and 1")


@dataclass(frozen=True)
class AdaptOptions:
    """adapt: a new head on the trunk of a run that was trained before, which stays as it is."""

    run: str  # the folder of that run
    task: str  # the last of `tasks:`, which the head is for; the others are those of that run


@dataclass(frozen=True)
class ProtocolOptions:
    """protocol: how explanations are scored and timed."""

    users: int = 128  # test users whose top recommendation is explained
    target: str = "logit"  # what is explained: or margin, over the runner-up, or a task's name
    absent: str = "remove"  # what becomes of a feature outside the coalition
    points: int = 10  # of a deletion or insertion curve
    repeats: int = 20  # timed calls at batch 1
    batch: int = 64  # rows of the throughput call
    max_bytes: int = 2**30  # that explaining may hold at once, whatever the users

    def __post_init__(self) -> None:
        _one_of("absent", self.absent, ("remove", "baseline", "resample"))
        for name in ("users", "points", "repeats", "batch", "max_bytes"):
            _at_least(name, getattr(self, name), 1)


@dataclass(frozen=True)
class BenchOptions:
    """bench: how `xrec bench` compares explainers."""

    users: int = 200  # test users, whose first recommendation is explained and judged
    tuning: int = 100  # validation users, others than those, on whom settings are chosen
    select: str = "infidelity@remove"  # the measure by which they are, which is not reported then
    seeds: list[int] = field(default_factory=lambda: [0])  # of models, each trained anew
    draws: int = 2  # seeds of each explainer that draws
    operators: list[str] = field(default_factory=lambda: ["remove", "baseline"])
    budgets: list[float] = field(default_factory=lambda: [0.25, 0.5, 1.0])  # times its own
    variants: dict[str, Any] = field(default_factory=dict)  # of the model: compress, privacy

    def __post_init__(self) -> None:
        for name in ("users", "tuning", "draws"):
            _at_least(name, getattr(self, name), 1)
        for name in ("seeds", "operators", "budgets"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise ValueError(f"{name} is {given}, it must list some, each once")
        for operator in self.operators:
            _one_of("operators", operator, ("remove", "baseline", "resample"))
        if any(budget <= 0 for budget in self.budgets):
            raise ValueError(f"budgets is {self.budgets}, they must be above 0")


@dataclass(frozen=True)
class ReportOptions:
    """report: what is written for people."""

    formats: list[str] = field(default_factory=lambda: ["html"])
    sections: list[str] = field(
        default_factory=lambda: [
            "summary",
            "training",
            "compression",
            "privacy",
            "quality",
            "fidelity",
            "recommendations",
            "counterfactuals",
            "layers",
            "influence",
            "importance",
            "audit",
            "reproduce",
        ]
    )
    explained: int = 5  # recommendations shown with their explanations

    def __post_init__(self) -> None:
        for name in self.formats:
            _one_of("formats", name, ("html",))
        _at_least("explained", self.explained, 1)


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is '{value}': {nearest(value, known)}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}, it must be at least {least}")
