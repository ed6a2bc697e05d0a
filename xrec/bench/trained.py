"""A trained variant of a model, asked about what the model as trained recommends."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from xrec.errors import RunError
from xrec.recipe import Recipe
from xrec.runs.run import Run
from xrec.runs.subject import Subject


class Variant:
    """A variant of which the run is trained in a folder; base: the model as trained, if another.

    Whatever takes memory is loaded when it is first asked for, and until `close`.
    """

    def __init__(self, name: str, recipe: Recipe, folder: Path, base: Variant | None) -> None:
        self.name, self.recipe, self.folder, self.base = name, recipe, folder, base

    @cached_property
    def run(self) -> Run:
        """The variant's run."""
        return Run(self.recipe, self.folder)

    @cached_property
    def subject(self) -> Subject:
        """What the model as trained recommends first, as this variant sees it.

        Raises RunError: none of it is known to the variant.
        """
        run, data = self.run, self.run.data
        if self.base is None:
            users = drawn(run, run.recipe.bench.users)
            return run.first_choices(users, "test")
        table = self.base.subject.table[self.known.tolist()]
        users = torch.tensor([data.users.index(user) for user in table["user"]])
        items = torch.tensor([data.items.index(item) for item in table["item"]])
        batch = data.queries("test", users).about(items)
        return run.subject_of(table, batch, run.rivals(batch, "test"), "test")

    @cached_property
    def known(self) -> Tensor:
        """(B,) the rows of the base's recommendations whose user and item are in this one's data.

        A mechanism may have changed them.
        """
        assert self.base is not None
        table, data = self.base.subject.table, self.run.data
        both = pl.col("user").is_in(data.users.ids) & pl.col("item").is_in(data.items.ids)
        rows = table.select(both.arg_true()).to_series().to_list()
        if not rows:
            raise RunError(
                f"variant '{self.name}': its data have no user who is asked about: raise "
                "bench.users, or have its mechanism leave the users' names"
            )
        return torch.tensor(rows)

    @property
    def follows(self) -> tuple[Any, ...]:
        """What is found of it follows its recipe, data and weights, and those of the base."""
        chain = [name.replace("/", ".") for name in self.run.steps]
        written = [self.run.store.writes(stage) for stage in ("data", "train", *chain)]
        return (self.recipe.digest(), written, *(self.base.follows if self.base else ()))

    def close(self) -> None:
        """Let go of what takes memory."""
        for name in ("run", "subject", "known"):
            vars(self).pop(name, None)


def drawn(run: Run, count: int) -> Tensor:
    """(U,) some of a run's users, or all where there are fewer, as its seed draws them."""
    generator = torch.Generator().manual_seed(run.recipe.seed)
    return 1 + torch.randperm(len(run.data.users) - 1, generator=generator)[:count]
