"""What the benchmark of quality trains: each model in each world, by a recipe, and kept."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from lightning import seed_everything
from omegaconf import OmegaConf
from platformdirs import user_cache_path
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.cleaning.steps import clean
from xrec.data.module import QUERY_BATCH, Data
from xrec.data.split import HELD_OUT
from xrec.data.tables import Tables
from xrec.files import written
from xrec.models.baselines import Ranker, baselines
from xrec.models.encoder import encode_once
from xrec.models.quality import ranks
from xrec.models.recommender import Recommender
from xrec.recipe import Recipe
from xrec.runs.training import fit

RECIPES = Path(__file__).parents[1] / "recipes"
DATASETS = {  # the recipe that has each
    "movielens": "video",
    "online_retail": "ecommerce",
    "lastfm": "social",
    "planted": "quickstart",
}
MODELS = {"whole": ("ids", "text", "text_ids", "text_ids_on", "lora"), "cold": ("ids", "text")}
COLD_SHARE, COLD_EVENTS = 5, 4  # one item in five keeps its first four training events

Changes = Mapping[str, Mapping[str, Any]]

ON = {"epochs": 5, "lr": 5e-4}  # of what is trained on

#: What a model has that differs from the recipe's.
OWN: Mapping[str, Changes] = {
    "ids": {"model": {"views": ["identity"]}},
    "text": {"model": {"views": ["text"]}},
    "text_ids": {"model": {"views": ["text", "identity"]}},
    "text_ids_on": {"model": {"views": ["text", "identity"]}, "train": ON},
    "lora": {
        "model": {"views": ["text", "identity"], "reads": 32},
        "encoder": {"tune": "lora"},
        "train": ON,
    },
}
AFTER = {"text_ids_on": "text_ids", "lora": "text_ids"}  # begin with the weights of another


@dataclass(frozen=True)
class Trial:
    """A model to be trained: its name, world and seed, and the recipe that says all else."""

    name: str
    world: str
    recipe: Recipe

    @classmethod
    def of(cls, dataset: str, name: str, world: str, seed: int, changes: Changes) -> Trial:
        """The trial of a model by the dataset's recipe, the model's own settings and changes."""
        shared = OmegaConf.load(RECIPES / f"{DATASETS[dataset]}.yaml")
        config = OmegaConf.merge(shared, changes, OWN[name], {"seed": seed})
        given = OmegaConf.to_container(config, resolve=True)
        assert isinstance(given, dict)
        keys = ("name", "seed", "data", "encoder", "model", "tasks", "train")
        return cls(name, world, Recipe.of({str(k): v for k, v in given.items() if k in keys}))

    def digest(self) -> str:
        """What the weights follow from, short."""
        told = f"{self.world} {self.name} {self.recipe.digest()}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def thinned(tables: Tables) -> Tables:
    """The cold world: some items keep their first training events alone, and all held-out ones."""
    items = tables.items["item"].sort()
    order = np.random.default_rng(0).permutation(len(items))
    cold = items[order[: len(items) // COLD_SHARE]]
    events = tables.interactions.sort("user", "time", maintain_order=True)
    to_go = pl.len().over("user") - pl.int_range(pl.len()).over("user")
    train = events.filter(to_go > HELD_OUT["train"]).sort("time", maintain_order=True)
    place = pl.int_range(pl.len()).over("item")
    kept = train.filter(~pl.col("item").is_in(cold.implode()) | (place < COLD_EVENTS))
    left = pl.concat([kept, events.filter(to_go <= HELD_OUT["train"])])
    return tables.replace(interactions=left.filter(pl.len().over("user") > HELD_OUT["train"]))


def data_of(trial: Trial) -> Data:
    """The data of a trial's world."""
    recipe = trial.recipe
    tables, _ = clean(recipe.dataset.make().load(), recipe.clean)
    tables = thinned(tables) if trial.world == "cold" else tables
    return Data(tables, recipe.data, recipe.train, recipe.seed, recipe.tasks)


def trained(
    trial: Trial, data: Data, before: Trial | None, cache: Path
) -> tuple[Recommender, dict[str, Any]]:
    """The model with its best weights, and how its training went, from the cache if it is there."""
    recipe = trial.recipe
    encoder = recipe.encoder.make()
    seed_everything(recipe.seed, verbose=False)
    model = recipe.model.make().build(data, encode_once(encoder, data.texts), encoder)
    path = cache / f"{trial.digest()}.safetensors"
    if not path.is_file():
        if before is not None:
            first, _ = _weights(cache / f"{before.digest()}.safetensors")
            model.load_state_dict(first, strict=False)
        partial = path.with_suffix(".partial")  # from which a training that was killed goes on
        with tempfile.TemporaryDirectory() as folder:
            history = fit(model, data, [], Path(folder), partial, _tell)
        best = max(history, key=lambda epoch: epoch[recipe.train.monitor])
        told = {
            "epochs": len(history),
            "best": best["epoch"],
            "validation": round(best[recipe.train.monitor], 4),
        }
        weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
        with written(path) as whole:
            save_file(weights, whole, {"told": json.dumps(told)})
        partial.unlink(missing_ok=True)
    weights, told = _weights(path)
    model.load_state_dict(weights)
    return model.eval(), told


def _weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["told"])
    return load_file(path), told


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


#: Scores (B, N + 1) of every item for a batch whose users have had some, (B, N + 1) bool.
Score = Callable[[Batch, Tensor], Tensor]


def by_counts(ranker: Ranker) -> Score:
    """The scores of a baseline."""
    return lambda batch, seen: ranker(seen.float())


def by_model(model: Recommender) -> Score:
    """The scores of a model."""
    return lambda batch, seen: model.catalogue(batch)


def ranked(score: Score, data: Data) -> pl.DataFrame:
    """Where each user's held-out item is ranked: a row a user and stage.

    rank leaves out what a user has had, among_all does not; events is how often the item was
    trained on.
    """
    users = torch.arange(1, len(data.users))
    trained_on = data.seen(users, "train").sum(0)
    rows = []
    for stage in ("validate", "test"):
        for some in users.split(QUERY_BATCH):
            batch, seen = data.queries(stage, some), data.seen(some, stage)
            with torch.no_grad():
                scores = score(batch, seen)
            columns = {
                "user": some,
                "events": trained_on[batch.candidate],
                "rank": ranks(scores, batch.candidate, seen),
                "among_all": ranks(scores, batch.candidate),
            }
            frame = pl.DataFrame({k: v.numpy() for k, v in columns.items()})
            rows.append(frame.select(pl.lit(stage).alias("stage"), pl.all().cast(pl.Int32)))
    return pl.concat(rows)


def measure(
    dataset: str, changes: Changes, seeds: tuple[int, ...]
) -> Iterator[tuple[pl.DataFrame, dict[str, Any] | None]]:
    """The ranks of every model in every world, and how its training went, as each is done.

    The cold world has one seed; where the split is not by time no event is an item's first, and
    there is no such world.
    """
    cache = user_cache_path("xrec") / "quality"
    for world, names in MODELS.items():
        split = Trial.of(dataset, "ids", world, seeds[0], changes).recipe.data.split
        if world == "cold" and split != "leave_last_out":
            continue
        for seed in seeds if world == "whole" else seeds[:1]:
            trials = {name: Trial.of(dataset, name, world, seed, changes) for name in names}
            data = data_of(trials["ids"])
            marks = [pl.lit(world).alias("world"), pl.lit(seed).alias("seed")]
            if seed == seeds[0]:
                for name, ranker in baselines(data).items():
                    found = ranked(by_counts(ranker), data)
                    yield found.select(*marks, pl.lit(name).alias("model"), pl.all()), None
            for name, trial in trials.items():
                data = data_of(trial)
                before = trials[AFTER[name]] if name in AFTER else None
                model, told = trained(trial, data, before, cache)
                found = ranked(by_model(model), data)
                told = {"world": world, "model": name, "seed": seed, **told}
                print("trained: " + json.dumps(told), flush=True)
                row = told | {"settings": trial.digest()}
                yield found.select(*marks, pl.lit(name).alias("model"), pl.all()), row
