"""How well does it rank? The sequential model by what it knows of items, beside counting baselines.

Every model ranks the whole catalogue for every user, leave-last-out: the last event is the test,
the one before it validates, and what a user has had is not ranked. The models:

    popularity, item_knn, ease   of counts alone; their settings are those best in validation
    ids                          an item is a vector of its own, as in SASRec
    text                         an item is its text, as the frozen encoder reads it
    text_ids                     both, by learned weights
    lora                         text_ids, trained on a little with an encoder that learns too
    text_ids_on                  text_ids, trained on as long without, to compare lora with

What all models share is the dataset's recipe, what each has of its own is in trials.py: chosen on
validation (docs/quality.md tells what was tried), then measured on test, once.

Few items of a catalogue that everybody knows have few events. So the models are trained again in a
`cold` world, in which a fifth of the items, drawn at random, keep their first four training events
alone, with one seed, and asked for the test events of all items that have under five.

    python benchmarks/quality.py [--full] [--dataset movielens]

The short form is a small planted world and says nothing about quality. A training that ended is
kept in the user's cache, by its settings, and is not done again. Ends with JSON: ndcg10 and
ndcg10_interval of each model, mean over users and seeds with its 95 % bootstrap interval over
users, and cold_recall_ratio, recall@50 of cold items, text over ids, one hit added to both.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import torch
from machine import RESAMPLES, arguments, finish, header
from torch import Tensor
from trials import DATASETS, OWN, Trial, measure

from xrec.errors import XrecError
from xrec.fidelity.statistics import bootstrap
from xrec.files import written
from xrec.models.quality import ranking_metrics

SEEDS = (0, 1, 2)
COLD_BELOW, COLD_CUTOFF = 5, 50
PACKAGES = ("xrec", "torch", "lightning", "transformers", "peft", "polars", "numpy")
SHORT: Mapping[str, Any] = {
    "data": {"users": 80, "items": 100, "history": 10},
    "model": {"width": 8},
    "train": {"epochs": 2, "negatives": 16},
}

#: NDCG@10 and HR@10 that others report; docs/quality.md says how their protocols differ.
PUBLISHED = {
    "movielens": (
        ("SASRec, RecBole", 0.0594, 0.1198),
        ("BERT4Rec, RecBole", 0.0624, 0.1357),
        ("GRU4Rec, RecBole", 0.0650, 0.1304),
    )
}
SOURCE = (
    "logs of RecBole, one seed, github.com/kanishkaRandunu/pswrec2k26, results/runs/ml-100k, "
    "commit 0f53911: leave-last-out, full ranking, without the 333 films of under 5 ratings, and "
    "with the films that a user has had among the rivals"
)


def per_user(frame: pl.DataFrame, metric: Callable[[Tensor], Tensor], rank: str = "rank") -> Tensor:
    """(U, S) a metric of each user and seed; the rows are of one model and stage."""
    wide = frame.sort("seed", "user").select("seed", "user", rank)
    values = metric(torch.tensor(wide[rank].to_numpy()))
    return values.view(wide["seed"].n_unique(), -1).T


def metric(name: str) -> Callable[[Tensor], Tensor]:
    """One of the ranking metrics, such as "ndcg@10"."""
    cutoff = int(name.partition("@")[2] or 10)
    return lambda rank: ranking_metrics(rank, cutoff)[name]


def told(values: Tensor) -> str:
    """Mean over users and seeds with its interval over users, for a table."""
    found = bootstrap(values.mean(1).numpy())
    return f"{found['mean']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def quality_table(found: pl.DataFrame) -> None:
    """Print how each model ranks the test items, and the spread over seeds."""
    print(f"\n{'test':12}{'NDCG@10':26}{'recall@10':26}{'MRR':26}seeds, NDCG@10")
    for name in found["model"].unique(maintain_order=True):
        own = found.filter(pl.col("model") == name)
        seeds = per_user(own, metric("ndcg@10")).mean(0).tolist()
        cells = [told(per_user(own, metric(each))) for each in ("ndcg@10", "recall@10", "mrr")]
        spread = ", ".join(f"{each:.4f}" for each in seeds)
        print(f"{name:12}{cells[0]:26}{cells[1]:26}{cells[2]:26}{spread}")


def difference(found: pl.DataFrame, one: str, other: str) -> None:
    """Print by how much one model is ahead of another, by user, and whether that may be nothing."""
    a, b = (
        per_user(found.filter(pl.col("model") == name), metric("ndcg@10")).mean(1).numpy()
        for name in (one, other)
    )
    apart = bootstrap(a - b)
    sure = "excludes 0" if apart["low"] > 0 or apart["high"] < 0 else "does not exclude 0"
    print(
        f"{one} - {other}, NDCG@10: {apart['mean']:+.4f}, paired 95 % interval over users "
        f"[{apart['low']:+.4f}, {apart['high']:+.4f}], which {sure}"
    )


def cold_table(found: pl.DataFrame) -> float:
    """Print how each model ranks test items of few events; returns text's recall over that of ids.

    One hit is added to both, so that the ratio is finite where ids find none.
    """
    few = found.filter(pl.col("events") < COLD_BELOW)
    users = few["user"].n_unique()
    print(f"\n{users} of {found['user'].n_unique()} test items had under {COLD_BELOW} events:")
    wide, mrr = metric(f"recall@{COLD_CUTOFF}"), metric("mrr")
    print(f"{'cold':12}{'recall@10':26}{f'recall@{COLD_CUTOFF}':26}MRR")
    for name in few["model"].unique(maintain_order=True):
        own = few.filter(pl.col("model") == name)
        cells = [told(per_user(own, each)) for each in (metric("recall@10"), wide, mrr)]
        print(f"{name:12}{cells[0]:26}{cells[1]:26}{cells[2]}")
    hits = np.stack(
        [per_user(few.filter(pl.col("model") == name), wide).mean(1) for name in ("text", "ids")]
    )
    drawn = np.random.default_rng(0).integers(users, size=(RESAMPLES, users))
    again = hits[:, drawn].sum(-1) + 1
    low, high = np.quantile(again[0] / again[1], [0.025, 0.975])
    ratio = float(np.divide(*(hits.sum(1) + 1)))
    print(
        f"text / ids, recall@{COLD_CUTOFF}, one hit added to both: {ratio:.2f} "
        f"(95 % interval over users {low:.2f} to {high:.2f}; hits, mean over seeds: "
        f"{hits[0].sum():.1f} and {hits[1].sum():.1f})"
    )
    return ratio


def published_table(dataset: str, found: pl.DataFrame) -> None:
    """Print what others report beside ours, in their protocol as far as it is known."""
    if dataset not in PUBLISHED:
        return
    print(f"\n{'published':20}{'NDCG@10':26}HR@10")
    for name, ndcg, hits in PUBLISHED[dataset]:
        print(f"{name:20}{f'{ndcg:.4f}':26}{hits:.4f}")
    for name in ("ids", "text_ids"):
        own = found.filter(pl.col("model") == name)
        cells = [told(per_user(own, metric(m), "among_all")) for m in ("ndcg@10", "recall@10")]
        print(f"{'ours, ' + name:20}{cells[0]:26}{cells[1]}")
    print(f"source: {SOURCE}")
    print("ours, here alone, have all films, and those that a user has had among the rivals too")


def main() -> None:
    """Train what is not trained yet, rank, and tell."""
    given = arguments("How well does it rank?", [name for name in DATASETS if name != "planted"])
    dataset = given.dataset if given.full else "planted"
    seeds, changes = (SEEDS, {}) if given.full else (SEEDS[:1], SHORT)
    try:
        shared = Trial.of(dataset, "text_ids", "whole", 0, changes).recipe.resolved
        settings = {
            "form": f"{'full' if given.full else 'short'}: {dataset}",
            "seeds": seeds,
            "threads": given.threads,
            "settings": json.dumps({k: v for k, v in shared.items() if k not in ("name", "seed")}),
            "own settings": json.dumps(OWN),
        }
        header(PACKAGES, settings)
        parts, trainings = [], []
        for found, training in measure(dataset, changes, seeds):
            parts.append(found)
            trainings += [training] if training else []
    except XrecError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    rows = pl.concat(parts)
    with written(given.out / f"quality-{dataset}.parquet") as partial:
        rows.write_parquet(partial, compression="zstd", compression_level=19)
    test = rows.filter(pl.col("stage") == "test")
    whole = test.filter(pl.col("world") == "whole")
    cold = test.filter(pl.col("world") == "cold") if "cold" in test["world"] else whole
    quality_table(whole)
    for other in ("ids", "ease"):
        difference(whole, "text_ids", other)
    ratio = cold_table(cold)
    published_table(dataset, whole)
    of = {
        name: bootstrap(
            per_user(whole.filter(pl.col("model") == name), metric("ndcg@10")).mean(1).numpy()
        )
        for name in whole["model"].unique(maintain_order=True)
    }
    figures = {
        "ndcg10": {name: round(each["mean"], 4) for name, each in of.items()},
        "ndcg10_interval": {
            name: [round(each["low"], 4), round(each["high"], 4)] for name, each in of.items()
        },
        "cold_recall_ratio": round(ratio, 2),
    }
    finish(given.out / f"quality-{dataset}.csv", trainings, figures)


if __name__ == "__main__":
    main()
