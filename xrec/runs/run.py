"""A run: its recipe, its plugins, its folder, and what has been made so far."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from xrec import plugins
from xrec.compress.chain import rebuilt
from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.data.tables import SCHEMAS, Tables
from xrec.errors import RunError
from xrec.explain.target import Target, target_named
from xrec.models.encoder import Adaptable, Encoder
from xrec.models.family import WEIGHTS as FILE
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.recipe import Choice, Recipe
from xrec.runs.store import RECIPE, Store
from xrec.runs.subject import Subject

WEIGHTS = "weights.safetensors"
COMPRESSED = "compressed"  # the folder of what each step of compression gave
SHORTLIST = "shortlist.safetensors"  # of each explained user, the items ranked first
ADAPTED = "encoder"  # the folder of the encoder that was trained further
AUDIT = "audit/audit.json"  # what an audit found, where there was one
Tell = Callable[[str], None]


class Run:
    """What the stages of a run, and the commands that look at one, work with.

    Raises RecipeError or PluginError if the recipe cannot be carried out.
    """

    def __init__(self, recipe: Recipe, folder: Path, tell: Tell = lambda text: None) -> None:
        self.recipe, self.tell = recipe, tell
        self.store = Store(folder)
        self.made = recipe.check()
        self._compressed: dict[str, Recommender] = {}  # the last that was built, by its step
        self.manager = plugins.new_manager(each for group in self.made.values() for each in group)

    @classmethod
    def open(cls, folder: Path) -> Run:
        """A run that was made before. Raises RunError if `folder` is not one."""
        store = Store.open(folder)
        return cls(Recipe.load(store.path(RECIPE)), folder)

    @property
    def folder(self) -> Path:
        """Where the run's artefacts are."""
        return self.store.folder

    @cached_property
    def data(self) -> Data:
        """The run's clean data."""
        frames = {name: self.store.table(f"data/{name}.parquet") for name in SCHEMAS}
        recipe = self.recipe
        return Data(Tables(**frames), recipe.data, recipe.train, recipe.seed, recipe.tasks)

    @cached_property
    def encoder(self) -> Encoder:
        """The recipe's encoder, as `pretrain:` left it where the recipe asks for that."""
        encoder: Encoder = self.made["encoder"][0]
        if self.recipe.pretrain is None:
            return encoder
        assert isinstance(encoder, Adaptable)
        return encoder.adapted(self.store.path(f"{ADAPTED}/{FILE}").parent)

    @cached_property
    def texts(self) -> Tensor:
        """(N + 1, E) the encoder's vector of each item."""
        return self.store.tensors("texts.safetensors")["texts"]

    def fresh_model(self) -> Recommender:
        """An untrained model, which calls the lifecycle hooks of the run's plugins."""
        model: Recommender = self.made["model"][0].build(self.data, self.texts, self.encoder)
        model.use(self.manager)
        return model

    @property
    def model(self) -> Recommender:
        """What the run recommends by, in evaluation mode: the trained model, or as compressed."""
        return self.compressed(len(self.steps))

    def compressed(self, count: int) -> Recommender:
        """The model after the first steps of compression, as many as are asked for.

        A step that was not taken leaves it as it was.
        """
        taken = self.taken(count)
        if not taken:
            return self.trained
        if taken[-1] not in self._compressed:
            told = [
                (self.made["compress"][self.steps.index(name)], self.store.json(f"{name}.json"))
                for name in taken
            ]
            path = f"{taken[-1]}.safetensors"
            tensors, source = self.store.tensors(path), f"run {self.folder}: {path}"
            self._compressed = {taken[-1]: rebuilt(self.fresh_model(), told, tensors, source)}
        return self._compressed[taken[-1]]

    @cached_property
    def steps(self) -> list[str]:
        """The files of each step of compression, without what they end in."""
        chain = enumerate(self.recipe.compress, start=1)
        return [f"{COMPRESSED}/{at}-{choice.name}" for at, choice in chain]

    def taken(self, count: int) -> list[str]:
        """Those of the first steps of compression that were taken."""
        return [name for name in self.steps[:count] if self.store.json(f"{name}.json")["taken"]]

    @cached_property
    def trained(self) -> Recommender:
        """The trained model before any compression, in evaluation mode."""
        model = self.fresh_model()
        try:
            model.load_state_dict(self.store.tensors(WEIGHTS))
        except RuntimeError as error:
            raise RunError(
                f"run {self.folder}: {WEIGHTS} does not fit the model its recipe builds "
                f"({str(error).splitlines()[0]})"
            ) from error
        return model.eval()

    @property
    def target(self) -> Target:
        """What is explained."""
        return target_named(self.recipe.protocol.target, self.recipe.tasks)

    def explainers(self) -> dict[str, tuple[Choice, Any]]:
        """The recipe's explainers by label: how they were chosen, and the objects."""
        pairs = zip(self.recipe.explain, self.made["explain"], strict=True)
        return {choice.label: (choice, explainer) for choice, explainer in pairs}

    def influences(self) -> dict[str, tuple[Choice, Any]]:
        """The recipe's influence methods by label: how they were chosen, and the objects."""
        pairs = zip(self.recipe.influence, self.made["influence"], strict=True)
        return {choice.label: (choice, method) for choice, method in pairs}

    @cached_property
    def subject(self) -> Subject:
        """The recommendations that the run explains, once it has made them."""
        table = self.store.table("recommendations.parquet").filter(pl.col("rank") == 1)
        users = torch.tensor([self.data.users.index(user) for user in table["user"]])
        items = torch.tensor([self.data.items.index(item) for item in table["item"]])
        batch = self.data.queries("test", users).about(items)
        rivals = self.store.tensors(SHORTLIST)["items"][:, 1:]
        return self.subject_of(table, batch, rivals, "test")

    def first_choices(self, users: Tensor, stage: str) -> Subject:
        """What is recommended first to users (B,) at a stage: "validate" or "test"."""
        data, queries = self.data, self.data.queries(stage, users)
        found, scores = self.recommend(queries, data.seen(users, stage), 1 + self.model.shortlist)
        found = torch.where(scores > -torch.inf, found, 0)
        some = found[:, 0] > 0
        users, items, batch = users[some], found[some, 0], queries.rows(some)
        table = pl.DataFrame(
            {
                "user": [data.users.ids[user] for user in users.tolist()],
                "item": [data.items.ids[item] for item in items.tolist()],
                "title": [data.titles[item] for item in items.tolist()],
            }
        )
        return self.subject_of(table, batch.about(items), found[some, 1:], stage)

    def rivals(self, batch: Batch, stage: str, seen: Tensor | None = None) -> Tensor:
        """(B, R) what else would be recommended at a stage than a batch's items, best first.

        0 where there are fewer. seen (B, N + 1) bool: what its users have had, where the batch does
        not say who they are.
        """
        seen = self.data.seen(batch.user, stage) if seen is None else seen
        found, scores = self.recommend(batch, seen, 1 + self.model.shortlist)
        others = (scores > -torch.inf) & (found != batch.candidate[:, None])
        order = others.int().argsort(dim=1, descending=True, stable=True)
        return torch.where(others, found, 0).gather(1, order)[:, :-1]

    def subject_of(self, table: pl.DataFrame, batch: Batch, rivals: Tensor, stage: str) -> Subject:
        """Recommendations of a stage, as what explanations are of; rivals (B, R)."""
        inputs = self.inputs(batch).against(rivals)
        seen = self.data.left_out(batch.user, stage)
        of_score = self.recipe.protocol.target in ("logit", self.recipe.tasks[0].name)
        dataset = self.made["dataset"][0]
        known = (self.model, self.data, self.target, table, batch, inputs, seen, dataset)
        return Subject(*known, of_score)

    def inputs(self, batch: Batch) -> Inputs:
        """The feature vectors of a batch, as the trained model embeds them."""
        with torch.no_grad():
            return self.model.embed(batch)

    def recommend(self, batch: Batch, seen: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Items (B, count) with the highest scores (B, count), best first, for a batch's users."""
        with torch.no_grad():
            scores = self.model.catalogue(batch)
        scores[:, 0] = -np.inf
        if self.recipe.data.exclude_seen:
            scores = scores.masked_fill(seen, -np.inf)
        top = scores.topk(min(count, scores.shape[1] - 1), dim=1)
        return top.indices, top.values
