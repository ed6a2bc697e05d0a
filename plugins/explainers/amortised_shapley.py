"""Shapley values in one pass of a network that was trained, and corrected by few coalitions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import torch
from torch import Tensor

from xrec import hookimpl
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.explain.amortiser import HEADS, Lesson, Predictor, Slots
from xrec.explain.correction import Nothing, corrected, ends, nothing
from xrec.explain.explanation import Explanation
from xrec.explain.game import check_absent
from xrec.explain.lessons import Lessons, Steps, asked, parted
from xrec.explain.probe import probe
from xrec.explain.sampling import Sampling, sampled
from xrec.explain.target import Target, logit
from xrec.fidelity.correlation import spearman
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.runs.training import new_trainer

PER_USER = 16  # rows learned from, of each user at most
PAIRS = 24  # of coalitions of each row, of which a step takes half
BATCH, RATE = 128, 4e-3
HELD_OUT = 0.1  # of the users, of whom 128 at most say how good the network is
JUDGES = 128
REFERENCE = Sampling(evaluations=1024, error=0.02)  # what it is held against


@dataclass
class AmortisedShapley:
    """Shapley values predicted in one pass (Jethani et al., 2022, FastSHAP), with a correction.

    Options: evaluations, coalitions of each row by which the prediction is corrected, 0 for none;
    epochs, rows (the most learned from), width and rank, of the network; absent, what becomes of a
    player outside the coalition; seed.

    The network predicts a game, a sum of products over players, from noisy labels: what a few dozen
    coalitions of each row are worth (Covert et al., 2024, stochastic amortisation). The Shapley
    values of that game are known in closed form. What they lack of score - base is shared equally.
    Its error is the mean relative error that it had on users held out, times a row's length.

    With evaluations, the values of what the game leaves unexplained are added, estimated from pairs
    of coalitions without bias over seeds whatever the network says (`xrec.explain.kriging`); the
    error then is the length of the standard errors of that estimate. The network learns the logit:
    other targets can be explained with evaluations alone.
    """

    budget: ClassVar[str] = "evaluations"

    excused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("linear", "symmetry", "dummy"),
        "it is predicted, and where corrected, only within its error",
    )

    evaluations: int = 0
    epochs: int = 40
    rows: int = 16384
    width: int = 64
    rank: int = 32
    absent: str = "remove"
    seed: int = 0
    predictor: Predictor | None = field(init=False, default=None, repr=False)
    miss: float = field(init=False, default=torch.nan, repr=False)  # mean relative error
    nothing: Nothing | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("epochs", "rows", "rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.evaluations < 0 or self.evaluations % 2:
            raise ValueError(f"evaluations is {self.evaluations}, it must be 0 or an even number")
        if self.width < HEADS or self.width % HEADS:
            raise ValueError(f"width is {self.width}, it must be a multiple of {HEADS}")
        check_absent(self.absent)

    def fit(self, model: Recommender, data: Data) -> dict[str, Any]:
        """Train on rows of users; returns what it took, and how good it is on users held out.

        Figures: seconds, evaluations and rows; relative_error and rank_correlation, means over
        rows of users held out; break_even, the number of explanations from which on training took
        less time than to explain each by fast Shapley at the same error, none if it never does.
        """
        begin = time.perf_counter()
        with probe(model) as cost, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            learning, held = parted(data, HELD_OUT, self.seed)
            lessons = self._lessons(model, data, learning)
            self.predictor = self._taught(lessons).to(model.device)
            seconds = time.perf_counter() - begin
            trained = cost.forward
            batch = asked(model, data, held[:JUDGES], self.seed)
            inputs = model.embed(batch)
            self.nothing = nothing(model, inputs)
            figures = self._judged(model, inputs, seconds)
        learned = sum(len(lesson) for lesson in lessons)
        return {"seconds": seconds, "evaluations": trained, "rows": learned, **figures}

    def _lessons(self, model: Recommender, data: Data, users: Tensor) -> list[Lessons]:
        count = min(self.rows, PER_USER * len(users))
        lessons: list[Lessons] = []
        for turn in range(-(-count // len(users))):
            some = users[: count - turn * len(users)]
            seed = self.seed * PER_USER + turn
            with torch.no_grad():
                inputs = model.embed(asked(model, data, some, seed))
            lessons.append(Lessons.of(model, inputs, PAIRS, self.absent, seed))
        return Lessons.joined(lessons)

    def _taught(self, lessons: list[Lessons]) -> Predictor:
        """A predictor that learned the lessons."""
        values = torch.cat([each.slots.values[each.slots.present] for each in lessons])
        differences = torch.cat([each.differences.flatten() for each in lessons])
        predictor = Predictor(values.shape[1], self.width, self.rank).to(values.device)
        predictor.scale.copy_(values.square().mean().sqrt().clamp(min=1e-6))
        predictor.unit.copy_(differences.square().mean().sqrt().clamp(min=1e-6))
        steps = Steps(lessons, BATCH, self.seed)
        lesson = Lesson(predictor, self.epochs * len(steps), RATE, PAIRS // 2)
        with TemporaryDirectory() as folder, torch.enable_grad():
            trainer = new_trainer(
                [],
                Path(folder),
                accelerator=values.device.type,
                devices=1,
                max_epochs=self.epochs,
                gradient_clip_val=1.0,
            )
            trainer.fit(lesson, steps)
        return predictor.eval().requires_grad_(False)

    @torch.no_grad()
    def _judged(self, model: Recommender, inputs: Inputs, seconds: float) -> dict[str, Any]:
        """How near the prediction comes to what is nearly exact, and when training has paid."""
        truth = sampled(model, inputs, logit, REFERENCE).values
        begin = time.perf_counter()
        values = self._predicted(model, inputs, logit)[0]
        mine = time.perf_counter() - begin
        size = truth.norm(dim=1)
        real = size > 0
        relative = (values.double() - truth).norm(dim=1)[real] / size[real]
        self.miss = float(relative.mean())
        begin = time.perf_counter()
        error = min(max(self.miss, 0.01), 0.99)
        sampled(model, inputs, logit, Sampling(REFERENCE.evaluations, error, self.absent))
        theirs = time.perf_counter() - begin
        saved = (theirs - mine) / len(inputs)
        return {
            "relative_error": self.miss,
            "rank_correlation": float(spearman(values, truth, inputs.players).nanmean()),
            "break_even": None if saved <= 0 else round(seconds / saved),
        }

    def state(self) -> dict[str, Tensor]:
        """The network's weights, and how good it is."""
        kept = self._learned().state_dict()
        if self.nothing is not None:
            kept |= {"nothing.base": self.nothing.base, "nothing.fixed": self.nothing.fixed}
        return {**kept, "miss": torch.tensor(self.miss, dtype=torch.double)}

    def restore(self, state: Mapping[str, Tensor], model: Recommender, data: Data) -> None:
        """Be as after the `fit` that gave this state."""
        weights = dict(state)
        self.miss = float(weights.pop("miss"))
        told = [weights.pop(f"nothing.{name}", None) for name in ("base", "fixed")]
        base, fixed = (None if each is None else each.to(model.device) for each in told)
        self.nothing = None if base is None or fixed is None else Nothing(base, fixed)
        predictor = Predictor(weights["enter.weight"].shape[1], self.width, self.rank)
        predictor.load_state_dict(weights)
        self.predictor = predictor.to(model.device).eval().requires_grad_(False)

    def _learned(self) -> Predictor:
        if self.predictor is None:
            raise XrecError("amortised_shapley has not been trained: call fit, or restore, first")
        return self.predictor

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain all rows in one pass, and correct that if there are evaluations.

        Raises XrecError where it was not trained, where a target other than the logit is to be
        predicted, or where a row has too many players for the evaluations.
        """
        with probe(model) as cost, torch.no_grad():
            if self.evaluations:
                game = self._learned()(Slots.of(inputs))
                found = corrected(
                    model, inputs, target, game, self.evaluations // 2, self.absent, self.seed
                )
                values, score, base, deviation = (
                    each.to(inputs.values)
                    for each in (found.values, found.score, found.base, found.deviation)
                )
                error = deviation.norm(dim=1)
            else:
                values, score, base = self._predicted(model, inputs, target)
                error, deviation = self.miss * values.norm(dim=1), None
        kept = (inputs, values, score, base, cost, "amortised_shapley", error, deviation)
        return Explanation.of(*kept)

    def _predicted(
        self, model: Recommender, inputs: Inputs, target: Target
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values (B, F), score (B,) and base (B,)."""
        if target is not logit:
            raise XrecError(
                "amortised_shapley has learned the logit, not another target: set its evaluations "
                "above 0, or protocol.target to logit"
            )
        game: Any = self._learned()(Slots.of(inputs))
        score, base = ends(model, inputs, target, self.absent, self.nothing)
        count = inputs.players.sum(1)
        values = game.shapley(max(1, int(count.max())))
        gap = (score - base - values.sum(1)) / count.clamp(min=1)
        return torch.where(inputs.players, values + gap[:, None], 0), score, base


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer amortised Shapley values."""
    return {"amortised_shapley": AmortisedShapley}
