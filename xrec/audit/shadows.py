"""Shadow models: the run's recipe carried out again on random halves of its users.

They come in pairs, a random half of the users and the other half, so that each user is in one of
each pair, and so in half of all. A shadow is a run of its own in a folder within the run's, trained
by the same stages, from a seed of its own; one that was trained before is not trained again, nor
are the first ones where more are asked for. Items, their texts' vectors and an encoder that
`pretrain:` trained on those texts are the run's: they are of no user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xrec.data.module import Data
from xrec.errors import RunError
from xrec.explain.explainer import learns
from xrec.models.encoder import Encoder
from xrec.recipe import Recipe
from xrec.runs import pipeline
from xrec.runs.run import Run

FOLDER = "audit/shadows"
FEWEST = 6  # shadows: without a pair, two that had a user and two that had not are a variance
LEAST = 20  # users: two halves of ten
SHARED = ("data", "pretrain", "encode")  # stages whose files are those of the run


class Shadow(Run):
    """A run of another's recipe on some of its users (B,), in ascending order.

    Trackers are not told of it, and it keeps no checkpoints to look back on.
    """

    def __init__(self, run: Run, at: int, members: Tensor) -> None:
        given = run.recipe.resolved
        train = {**(given.get("train") or {}), "keep": 0}
        seed = (run.recipe.seed + 1 + at) % 2**32
        recipe = Recipe.of({**given, "seed": seed, "train": train, "track": []})
        super().__init__(recipe, run.folder / FOLDER / f"{1 + at:03d}")
        self.run, self.members = run, members

    @cached_property
    def data(self) -> Data:
        """The data of the members alone."""
        data = self.run.data.among(self.members)
        data.seed = self.recipe.seed
        return data

    @property
    def encoder(self) -> Encoder:
        """The run's."""
        return self.run.encoder

    @property
    def texts(self) -> Tensor:
        """The run's."""
        return self.run.texts


def halves(users: int, shadows: int, seed: int) -> Tensor:
    """(shadows, users) bool: who is in each; every second has those who are not in the one before.

    The first ones are the same however many there are.
    """
    generator, half = torch.Generator().manual_seed(seed), users // 2
    inside = torch.zeros(shadows, users, dtype=torch.bool)
    for at in range(0, shadows, 2):
        inside[at, torch.randperm(users, generator=generator)[:half]] = True
        inside[at + 1] = ~inside[at]
    return inside


def check(run: Run, shadows: int) -> None:
    """Raise RunError where shadows cannot be trained, or nobody would be outside of one."""
    users = len(run.data.users) - 1
    if shadows < FEWEST or shadows % 2:
        raise RunError(
            f"an audit of {shadows} shadows cannot be: they come in pairs, of half of the users "
            f"and the other half; ask for an even number from {FEWEST} on"
        )
    if users < LEAST:
        raise RunError(
            f"run {run.folder} has {users} users, too few for shadows, each of which learns from "
            f"half of them: an audit needs at least {LEAST}"
        )
    if run.recipe.adapt is not None:
        raise RunError(
            f"run {run.folder} adapts the trunk of run {run.recipe.adapt.run}, which all users are "
            "in, so that a shadow would leave nobody out: audit that run"
        )


def trained(run: Run, inside: Tensor, label: str | None) -> Iterator[Shadow]:
    """The shadow of each row of inside (K, U), fit to be asked; an explainer has learned as well.

    They are trained as they are asked for.
    """
    for at, row in enumerate(inside):
        shadow = Shadow(run, at, 1 + row.nonzero()[:, 0])
        run.tell(f"  shadow {1 + at} of {len(inside)} …")
        for stage in _stages(shadow, label):
            pipeline.carry_out(shadow, stage)
        yield shadow


def _stages(shadow: Shadow, label: str | None) -> Iterator[pipeline.Stage]:
    """What the pipeline says of training, of compression and of an explainer that must learn.

    In place of stages of its own, it follows what the run's data stages wrote.
    """
    wanted = {"train", *(name.replace("/", ".") for name in shadow.steps)}
    if label is not None and learns(shadow.explainers()[label][1]):
        wanted.add(f"fit.{label}")
    for stage in pipeline.stages(shadow):
        if stage.name in wanted:
            after = tuple(name for name in stage.after if name in wanted)
            follows = (*stage.follows, shadow.members.tolist())
            yield replace(stage, follows=follows, after=after, sources=partial(_sources, shadow))


def _sources(shadow: Shadow, _: Any) -> list[Path]:
    store = shadow.run.store
    return [
        shadow.run.folder / name
        for stage in SHARED
        if store.record(stage) is not None
        for name in store.writes(stage)
    ]
